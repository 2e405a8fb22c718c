# SPDX-License-Identifier: BSD-2-Clause
# errors.awk: public functions, as the headers declare and document them.
#
# mode=documented: "function ERRNO", a line for each error that @return names.
# An @return that begins with "as viommu_f()" has those of f, too, but for those
# that it says are "never" returned.
# mode=open: the functions that return others besides: @return ends with what a
# system call failed with or a notifier answered, or is, after some, "as
# viommu_f()".
# mode=wrappers: a C function for each that returns an error, which passes the
# call on and records what came back (errors.h).
# mode=functions: the names of those.

# Documentation and declaration of one function.
function declared(doc, decl, f, type, ret, n, i, word)
{
	gsub(/VIOMMU_API|VIOMMU_MUST_CHECK/, "", decl)
	gsub(/[ \t]+/, " ", decl)
	sub(/^ /, "", decl)
	if (!match(decl, /viommu_[a-z0-9_]+\(/))
		return
	f = substr(decl, RSTART, RLENGTH - 1)
	type = substr(decl, 1, RSTART - 1)
	if (type != "int " && type != "int64_t ")
		return
	returns[f] = type
	params[f] = substr(decl, RSTART + RLENGTH)
	sub(/\) *;.*/, "", params[f])
	name[++functions] = f
	if (!match(doc, /@return /)) {
		print FILENAME ": " f " returns something untold" >"/dev/stderr"
		exit bad = 1
	}
	ret = substr(doc, RSTART + RLENGTH)
	sub(/\n\n.*/, "", ret)
	gsub(/\n/, " ", ret)
	if (match(ret, /^as viommu_[a-z0-9_]+\(\)/))
		as[f] = substr(ret, 4, RLENGTH - 5)
	if (ret ~ /or what .*(failed with|answered)|, or as viommu_[a-z0-9_]+\(\)/)
		others[f] = 1
	while (match(ret, /(never )?-E[A-Z0-9]+/)) {
		word = substr(ret, RSTART, RLENGTH)
		ret = substr(ret, RSTART + RLENGTH)
		if (sub(/^never -/, "", word))
			never[f, word] = 1
		else
			says[f, substr(word, 2)] = 1
	}
}

/^\/\*\*/ { comment = 1; doc = "" }
comment {
	line = $0
	sub(/^ *\/?\*+\/?[ \t]*/, "", line)
	doc = doc line "\n"
	if (/\*\//)
		comment = 0
	next
}
/^VIOMMU_API/ { decl = ""; open = 1 }
open {
	decl = decl " " $0
	if (/;/) {
		declared(doc, decl)
		open = 0
		doc = ""
	}
}

# Does @f document @e?
function documents(f, e)
{
	if ((f, e) in says)
		return 1
	if ((f, e) in never || !(f in as))
		return 0
	return documents(as[f], e)
}

function is_open(f)
{
	return f in others || (f in as && is_open(as[f]))
}

function wrapper(f, n, p, i, word, args)
{
	n = split(params[f], p, /,/)
	for (i = 1; i <= n; i++) {
		sub(/\[[^]]*\] *$/, "", p[i])
		match(p[i], /[a-z_0-9]+ *$/)
		word = substr(p[i], RSTART, RLENGTH)
		args = args (i > 1 ? ", " : "") word
	}
	printf "%s__real_%s(%s);\n", returns[f], f, params[f]
	printf "%s__wrap_%s(%s);\n", returns[f], f, params[f]
	printf "%s__wrap_%s(%s)\n{\n", returns[f], f, params[f]
	printf "\tstatic struct errors_seen seen = { .name = \"%s\" };\n", f
	printf "\t%src = __real_%s(%s);\n\n", returns[f], f, args
	print "\tif (rc < 0)\n\t\terrors_record(&seen, (int)-rc);"
	print "\treturn rc;\n}\n"
}

END {
	if (bad)
		exit 1
	for (key in says) {
		split(key, pair, SUBSEP)
		errnos[pair[2]] = 1
	}
	for (i = 1; i <= functions; i++) {
		if (mode == "functions")
			print name[i]
		else if (mode == "wrappers")
			wrapper(name[i])
		else if (mode == "open") {
			if (is_open(name[i]))
				print name[i]
		} else
			for (e in errnos)
				if (documents(name[i], e))
					print name[i] " " e
	}
}
