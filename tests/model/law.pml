/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pin and fence protocol of src/core/{pin,index,fence}.c, for spin.
 *
 * One range of IOVA that everybody wants, and one beside it.  What an access
 * reads in the table is the table's version; fence f takes version f away.  The
 * law is an assertion at each touch: no fence that takes what this access or
 * map saw is done.  That no fence is forgotten is the absence of invalid end
 * states: a taker's process ends when its fence is done.
 *
 * Processes that publish pins have a store buffer (x86-TSO): stores go there
 * unless they are sequentially consistent, and out of it one by one, by the
 * process Memory, in order.  A membarrier empties all of them; a lock or an
 * unlock waits for its own.
 *
 * What is not in here: half-read pins (a pin's word and fields change at once),
 * several extents, spinning before a fence pends.  interleave.c has the first.
 *
 * SCENARIO chooses who takes part, `mutant` which step is left out.  Bounds: two
 * threads with pins, two pins each, one node of an index, two fences.
 */
#ifndef SCENARIO
#define SCENARIO 1
#endif

#define NO_WAIT	       1
#define LOOK_FIRST     2
#define NO_GRACE       3
#define LOST_WAKEUP    4
#define NO_RELOOK      5
#define REVOKE_GONE    6
#define NO_SETTLE      7
#define EARLY_DROP     8
#define EARLY_DEADLINE 9
#define NO_MEMBARRIER  10
#define SETTLE_INSIDE  11
#define NO_HEIRS       12
#define TURN	       13

#define IDLE 0
#define BUSY 1
#define HELD 2

#define NPINS 4 /* thread d has pins 2d and 2d + 1 */
#define NF    2
#define NODE  NPINS /* in the place of a pin: the node of the index */
#define NONE  255

#define MINE  0 /* the range that fences take */
#define OTHER 1 /* and another */

byte mutant; /* from the environment: a program made of this serves for all */

/* ---- what is shared ------------------------------------------------------ */

byte version; /* of the table */
bool linked = true, freed; /* a frame that fence 0 retires, if it has grace */

byte word[NPINS], pseq[NPINS], prange[NPINS];
bool node, nasked, nfresh; /* in the index; asked; its map call is not over */
byte nseq;

byte commits, npending, heirs;
bool pending[NF], done[NF], asymmetric[2];
byte fseq[NF], blocker[NF], holds[NF];
bool grace[NF], failed[NF];

bool pending_lock, seat_lock;

/* store buffers: pin, word, seq, range */
chan buffer[2] = [2] of { byte, byte, byte, byte };

/* ---- what the law says ---------------------------------------------------- */

/* @v was read from the table, and is used now */
#define TOUCH(v) assert(!(v == 0 && (done[0] || done[1])) && !(v == 1 && done[1]))

bool handle_gone;     /* the map's handle is its owner's again */
byte ncalls;	      /* of its callback */
bool asking;	      /* a record of the call */
bool ep_gone, handling;

/* ---- memory ----------------------------------------------------------------- */

#define PUT(p, w, s, r) word[p] = w; pseq[p] = s; prange[p] = r

proctype Memory()
{
	byte p, w, s, r;
end:
	do
	:: atomic { buffer[0]?p,w,s,r -> PUT(p, w, s, r); p = 0; w = 0; s = 0; r = 0 }
	:: atomic { buffer[1]?p,w,s,r -> PUT(p, w, s, r); p = 0; w = 0; s = 0; r = 0 }
	od
}

inline store_sc(d, p, w, s, r)
{
	atomic { empty(buffer[d]); PUT(p, w, s, r) }
}

inline store(d, p, w, s, r)
{
	buffer[d]!p,w,s,r
}

inline full_fence(d)
{
	empty(buffer[d])
}

/* by anybody, on all processors */
inline membarrier()
{
	atomic { empty(buffer[0]) && empty(buffer[1]) }
}

/* By a thread with a buffer, or NONE.  To lock is a read-modify-write: it waits
 * for what was stored before (and so the thread sees its own stores). */
inline lock(d, l)
{
	atomic { !l && (d == NONE || empty(buffer[d % 2])) -> l = true }
}

inline unlock_of(d, l)
{
	atomic { d == NONE || empty(buffer[d % 2]) -> l = false }
}

/* ---- looking at pins ---------------------------------------------------------- */

/* Is pin @p in the way of fence @f?  Its extent, or, BUSY, any with grace. */
#define BLOCKS(p, f) (word[p] != IDLE && pseq[p] <= fseq[f] && \
	(prange[p] == MINE || (grace[f] && word[p] == BUSY)))
#define NODE_BLOCKS(f) (node && nseq <= fseq[f])

/* Every pin, then the index; b: who, or NONE */
inline look(d, f, b, h)
{
	do
	:: true ->
		h = heirs;
		b = 0;
		do
		:: atomic { b < NPINS && !BLOCKS(b, f) -> b++ }
		:: atomic { b < NPINS && BLOCKS(b, f) -> break }
		:: b == NPINS ->
			lock(d, seat_lock);
			if
			:: NODE_BLOCKS(f) -> skip /* b is NODE */
			:: else -> b = NONE
			fi;
			unlock_of(d, seat_lock);
			break
		od;
		if
		:: b != NONE -> break
		:: b == NONE && h != heirs && mutant != NO_HEIRS -> skip
		:: b == NONE && (h == heirs || mutant == NO_HEIRS) -> break
		fi
	od;
	h = 0
}

/* One fence that pends: is it done?  @gone: the node was just taken out. */
inline settle_one(d, f, gone, b, h, ready)
{
	if
	:: pending[f] ->
		if
		:: blocker[f] < NPINS && BLOCKS(blocker[f], f) -> skip
		:: blocker[f] == NODE && !gone -> skip
		:: else ->
			if
			:: mutant == EARLY_DROP && blocker[f] != NONE -> b = NONE
			:: holds[f] -> b = 0; blocker[f] = NONE
			:: else -> look(d, f, b, h); blocker[f] = b
			fi;
			if
			:: b == NONE ->
				pending[f] = false;
				npending--;
				ready = true
			:: else
			fi
		fi
	:: else
	fi;
	b = 0
}

/* A done callback, on whoever settles: the fence is done, its frames go. */
inline complete(f, ready)
{
	if
	:: ready ->
		atomic {
			done[f] = true;
			freed = freed || grace[f];
			ready = false
		}
	:: else
	fi
}

inline settle(d, gone, b, h, r0, r1)
{
	lock(d, pending_lock);
	settle_one(d, 0, gone, b, h, r0);
	settle_one(d, 1, gone, b, h, r1);
	unlock_of(d, pending_lock);
	complete(0, r0);
	complete(1, r1)
}

/* After a step after which less is in the way. */
inline tell(d, gone, b, h, r0, r1)
{
	if
	:: npending && mutant != LOST_WAKEUP -> settle(d, gone, b, h, r0, r1)
	:: else
	fi
}

#define LOCALS byte b, h; bool r0, r1

/* ---- DMA ------------------------------------------------------------------------ */

inline publish(d, p, s, r)
{
	s = commits;
	if
	:: mutant == LOOK_FIRST -> skip
	:: mutant != LOOK_FIRST && asymmetric[d] -> store(d, p, BUSY, s, r)
	:: else -> store_sc(d, p, BUSY, s, r)
	fi
}

/* One access: it reads the frame's address, then the frame. */
inline access(d, p, r, s, v)
{
	bool l;

	publish(d, p, s, r);
	l = linked;
	if
	:: l && r == OTHER -> assert(!freed)
	:: else
	fi;
	l = false;
	v = version;
	if
	:: v == 0 && r == MINE -> TOUCH(v)
	:: else
	fi;
	store(d, p, IDLE, s, r);
	v = 0;
	s = 0;
	tell(d, false, b, h, r0, r1)
}

/* ---- fences ----------------------------------------------------------------------- */

inline ask(d, me)
{
	lock(d, seat_lock);
	if
	:: NODE_BLOCKS(me) && !nasked ->
		nasked = true;
		if
		:: nfresh -> unlock_of(d, seat_lock)
		:: else ->
			asking = true;
			unlock_of(d, seat_lock);
			assert(!handle_gone); /* the handle says whom to call */
			ncalls++;
			assert(ncalls == 1);
			asking = false
		fi
	:: else -> unlock_of(d, seat_lock)
	fi
}

inline number(f)
{
	if
	:: mutant != NO_MEMBARRIER && (asymmetric[0] || asymmetric[1]) ->
		membarrier()
	:: else
	fi;
	atomic { fseq[f] = commits; commits++ }
}

inline commit(d, f)
{
	number(f);
	if
	:: mutant == NO_WAIT -> b = NONE
	:: else -> look(d, f, b, h)
	fi;
	if
	:: b == NONE ->
		r0 = true;
		complete(f, r0)
	:: else ->
		b = 0;
		blocker[f] = NONE;
		lock(d, pending_lock);
		pending[f] = true;
		npending++;
		unlock_of(d, pending_lock);
		membarrier();
		ask(d, f);
		settle(d, false, b, h, r0, r1)
	fi;
	b = 0
}

/* ---- 1: accesses of two threads, a seat that changes its way, grace ------------------- */

#if SCENARIO == 1
proctype Turning()
{
	LOCALS;
	byte s, v;

	access(0, 0, MINE, s, v);
	/* to asymmetric: say so before the first plain store */
	full_fence(0);
	asymmetric[0] = true;
	publish(0, 1, s, MINE);
	v = version;
	store(0, 1, HELD, s, MINE);
	/* to fenced: after the last one, a full barrier between */
	if
	:: mutant != TURN -> full_fence(0)
	:: else
	fi;
	asymmetric[0] = false;
	TOUCH(v);
	store(0, 1, IDLE, s, MINE);
	tell(0, false, b, h, r0, r1);
	access(0, 0, MINE, s, v)
}

proctype Beside()
{
	LOCALS;
	byte s, v;

	access(1, 2, OTHER, s, v)
}

proctype Taker()
{
	LOCALS;

	grace[0] = mutant != NO_GRACE;
	version = 1;
	linked = false;
	commit(NONE, 0);
	done[0];
	freed = true
}
#define ACTORS run Turning(); run Beside(); run Taker()
#endif

/* ---- 2: maps in pins: kept, looked again, dropped by another ------------------------------ */

/* @kept: it is held, and saw v; a map that sees what is gone fails */
inline map_pin(d, p, s, v, kept)
{
	kept = false;
	do
	:: true ->
		publish(d, p, s, MINE);
		v = version;
		if
		:: v == 2 ->
			store(d, p, IDLE, s, MINE);
			tell(d, false, b, h, r0, r1);
			break
		:: else
		fi;
		store(d, p, HELD, s, MINE);
		if
		:: npending ->
			lock(d, pending_lock);
			b = (pending[0] && s <= fseq[0]) || (pending[1] && s <= fseq[1]);
			unlock_of(d, pending_lock);
			if
			:: b ->
				b = 0;
				store(d, p, IDLE, s, MINE);
				tell(d, false, b, h, r0, r1)
			:: else ->
				b = 0;
				settle(d, false, b, h, r0, r1);
				kept = true;
				break
			fi
		:: else ->
			kept = true;
			break
		fi
	od;
	s = 0
}

#if SCENARIO == 2
chan parked = [1] of { byte };

proctype Mapper()
{
	LOCALS;
	byte s, v;
	bool kept, second;

	asymmetric[0] = true;
	map_pin(0, 0, s, v, kept);
	if
	:: kept -> TOUCH(v); full_fence(0); parked!v
	:: else -> parked!NONE
	fi;
	kept = false;
	v = 0;
	/* a second one, on the other pin: two may be in the way */
	map_pin(0, 1, s, v, kept);
	if
	:: kept ->
		TOUCH(v);
		store(0, 1, IDLE, 0, MINE);
		tell(0, false, b, h, r0, r1)
	:: else
	fi
}

/* drops what another thread mapped */
proctype Dropper()
{
	LOCALS;
	byte v;

	parked?v;
	if
	:: v != NONE ->
		TOUCH(v);
		store(1, 0, IDLE, 0, MINE);
		tell(1, false, b, h, r0, r1)
	:: else
	fi
}

proctype Taker()
{
	LOCALS;

	/* a map elsewhere, for ever: nobody waits for it (L6) */
	PUT(3, HELD, 0, OTHER);
	version = 1;
	commit(NONE, 0);
	version = 2;
	commit(NONE, 1);
	done[0] && done[1]
}
#define ACTORS run Mapper(); run Dropper(); run Taker()
#endif

/* ---- 3: a map in the index, held until asked ------------------------------------------------ */

#if SCENARIO == 3
bool called; /* the callback said so */

inline node_out(d)
{
	lock(d, seat_lock);
	if
	:: nasked && !nfresh && mutant != REVOKE_GONE ->
		unlock_of(d, seat_lock);
		!asking;
		lock(d, seat_lock)
	:: else
	fi;
	node = false;
	unlock_of(d, seat_lock)
}

inline node_undo(d)
{
	node_out(d);
	if
	:: mutant != NO_SETTLE -> tell(d, true, b, h, r0, r1)
	:: else
	fi
}

inline map_node(d, p, s, v, kept)
{
	kept = false;
	do
	:: true ->
		publish(d, p, s, MINE);
		v = version;
		if
		:: v == 2 ->
			store(d, p, IDLE, s, MINE);
			tell(d, false, b, h, r0, r1);
			break
		:: else
		fi;
		lock(d, seat_lock);
		node = true;
		nseq = s;
		nasked = false;
		nfresh = true;
		unlock_of(d, seat_lock);
		store(d, p, IDLE, s, MINE);
		if
		:: npending ->
			lock(d, pending_lock);
			b = (pending[0] && s <= fseq[0]) || (pending[1] && s <= fseq[1]);
			unlock_of(d, pending_lock);
			if
			:: b && mutant != NO_RELOOK -> b = 0; goto undo
			:: else -> b = 0; settle(d, false, b, h, r0, r1)
			fi
		:: else
		fi;
		/* may be asked from here on, if it was not found before */
		lock(d, seat_lock);
		nasked = nasked && mutant != NO_RELOOK;
		b = nasked;
		nfresh = nasked;
		unlock_of(d, seat_lock);
		if
		:: !b -> kept = true; break
		:: else -> b = 0
		fi;
undo:		node_undo(d)
	od;
	s = 0;
	b = 0
}

proctype Mapper()
{
	LOCALS;
	byte s, v;
	bool kept;

	map_node(0, 0, s, v, kept);
	if
	:: kept ->
		TOUCH(v);
		/* lets go when asked, or of its own accord */
		if
		:: true -> ncalls
		:: true -> skip
		fi;
		TOUCH(v);
		node_out(0);
		handle_gone = true;
		tell(0, true, b, h, r0, r1)
	:: else
	fi
}

proctype Taker0()
{
	LOCALS;

	version = 1;
	commit(NONE, 0);
	done[0]
}

/* What fence 0 left, mapped anew, is taken again. */
proctype Taker1()
{
	LOCALS;

	atomic { version == 1 -> version = 2 };
	commit(NONE, 1);
	done[1]
}
#define ACTORS run Mapper(); run Taker0(); run Taker1()
#endif

/* ---- 4: an access starts over; a callback on the same thread maps ----------------------------- */

#if SCENARIO == 4
byte space; /* what the endpoint sees; fence 0 takes space 0, fence 1 what was
	     * mapped in space 1 */
bool callback_due, callback_held;
byte callback_pin;

/* A pin of fence 0 names space 0: range OTHER, in this scenario. */
#undef BLOCKS
#define BLOCKS(p, f) (word[p] != IDLE && pseq[p] <= fseq[f] && \
	((f == 0 && prange[p] == OTHER) || (f == 1 && prange[p] == MINE)))

/* Fence 0 is done here: its callback maps in space 1, with the first pin that
 * looks idle to the owner. */
inline callback()
{
	byte cs;

	if
	:: done[0] && callback_due ->
		callback_due = false;
		full_fence(0);
		callback_pin = (word[0] == IDLE -> 0 : 1);
		cs = commits;
		store_sc(0, callback_pin, BUSY, cs, MINE);
		if
		:: version == 0 ->
			store_sc(0, callback_pin, HELD, cs, MINE);
			callback_held = true
		:: else ->
			store_sc(0, callback_pin, IDLE, cs, MINE);
			tell(0, false, b, h, r0, r1)
		fi;
		cs = 0
	:: else
	fi
}

proctype Device()
{
	LOCALS;
	byte s, now, saw;

	saw = space;
	do
	:: true ->
		s = commits;
		store_sc(0, 0, BUSY, s, (saw == 0 -> OTHER : MINE));
		now = space;
		if
		:: now == saw -> break
		:: else
		fi;
		store(0, 0, IDLE, s, OTHER);
		if
		:: mutant == SETTLE_INSIDE ->
			tell(0, false, b, h, r0, r1);
			callback()
		:: else
		fi;
		saw = now
	od;
	/* the access itself is of no interest here */
	store(0, 0, IDLE, s, OTHER);
	tell(0, false, b, h, r0, r1);
	callback();
	if
	:: callback_held ->
		assert(!done[1]);
		store(0, callback_pin, IDLE, s, MINE);
		tell(0, false, b, h, r0, r1)
	:: else
	fi
}

proctype Taker()
{
	LOCALS;

	callback_due = true;
	space = 1;
	commit(NONE, 0);
	version = 1;
	commit(NONE, 1);
	done[0] && done[1]
}
#define ACTORS run Device(); run Taker()
#endif

/* ---- 5: a deadline; giving up; the endpoint goes in the meantime -------------------------------- */

#if SCENARIO == 5
#define TIMEOUT 2

byte time, since;
bool given_up, told;

/* pins 0 and 1: the poller's, who is looked at first; 2: in the way */
#undef BLOCKS
#define BLOCKS(p, f) (word[p] != IDLE && pseq[p] <= fseq[f])

proctype Clock()
{
	do
	:: time < 3 -> time++
	:: else -> break
	od
}

proctype Holder()
{
	LOCALS;

	/* it saw the old table, before the fences */
	TOUCH(0);
	store(1, 2, IDLE, 0, MINE);
	tell(1, false, b, h, r0, r1)
}

proctype Poller()
{
	LOCALS;
	byte from;
	bool ok;

	lock(0, pending_lock);
	if
	:: pending[0] && (time >= since + TIMEOUT || mutant == EARLY_DEADLINE) ->
		/* inherit from who is in the way, then see that it was there */
		if
		:: BLOCKS(2, 0) ->
			store_sc(0, 0, HELD, pseq[2], MINE);
			heirs++;
			if
			:: BLOCKS(2, 0) -> ok = true
			:: else -> store(0, 0, IDLE, 0, MINE)
			fi
		:: else
		fi
	:: else
	fi;
	unlock_of(0, pending_lock);
	if
	:: ok ->
		handling = true;
		assert(time >= since + TIMEOUT);
		assert(!ep_gone);
		if
		:: given_up = true
		:: skip
		fi;
		assert(!ep_gone);
		handling = false
	:: else
	fi;
	if
	:: given_up ->
		lock(0, pending_lock);
		if
		:: pending[0] -> failed[0] = true; holds[0]++; told = true
		:: else
		fi;
		unlock_of(0, pending_lock);
		if
		:: told ->
			/* the failed callback: not after it is done */
			assert(!done[0]);
			holds[0]--;
			tell(0, false, b, h, r0, r1)
		:: else
		fi
	:: else
	fi;
	store(0, 0, IDLE, 0, MINE);
	tell(0, false, b, h, r0, r1)
}

/* Fence 1 destroys the endpoint. */
proctype Destroyer()
{
	LOCALS;

	commit(NONE, 1);
	done[1];
	assert(!handling);
	ep_gone = true
}

proctype Taker()
{
	done[0]
}

/* The scene: pin 2 is held, fence 0 waits for it. */
#define ACTORS \
	PUT(2, HELD, 0, MINE); \
	version = 1; \
	commits = 1; \
	pending[0] = true; \
	npending = 1; \
	blocker[0] = 2; \
	run Clock(); \
	run Holder(); \
	run Poller(); \
	run Destroyer(); \
	run Taker()
#endif

init
{
	atomic {
		c_code {
			const char *m = getenv("MUTANT");

			now.mutant = m ? atoi(m) : 0;
		};
		run Memory();
		ACTORS
	}
}
