/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bar plot of `viommu bench guest': a panel for each kind of request, each
 * with a scale of its own that begins at 0, since 4 KiB and 1 MiB are worlds
 * apart.  A colour is a disk; the paler of two is the strict one.
 */
#include "bench.h"

#include <errno.h>
#include <string.h>

enum {
	MARGIN = 24,
	LABELS = 216, /* names of the bars, left of the first panel */
	TOP = 78,
	PANEL = 176, /* wide */
	GAP = 34,
	BAR = 15,
	BAR_STEP = 21,
	PANEL_HEAD = 24,
	AXIS = 22,
	PANEL_STEP = 34, /* between rows of panels */
	LEGEND = 40,
};

#define FONT "font-family=\"Helvetica,Arial,sans-serif\""

static unsigned bars(const struct bench *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BENCH_SETUPS; i++)
		n += b->setups[i].runs > 0;
	return n;
}

static const char *colour(const struct bench_setup *s)
{
	static const char *const colours[][2] = {
		[DISK_VFIO_USER] = { "#2463a8", "#8bb6e0" },
		[DISK_VHOST_USER] = { "#1d8160", "#86ccb1" },
		[DISK_QEMU] = { "#6b7280", "#b8bdc6" },
	};

	if (s->wiring.iommu == IOMMU_NONE)
		return "#2b2f36";
	return colours[s->wiring.disk][s->wiring.strict];
}

/* The step between grid lines: 1, 2 or 5 times a power of ten, up to seven. */
static double grid_step(double max)
{
	static const double more[] = { 2, 2.5, 2 };
	double step = 0.001;

	for (int i = 0; max / step > 7; i++)
		step *= more[i % 3];
	return step;
}

static double phase_max(const struct bench *b, unsigned phase)
{
	double max = 1;

	for (unsigned i = 0; i < BENCH_SETUPS; i++) {
		double v = bench_median(&b->setups[i], phase);

		max = v > max ? v : max;
	}
	return max;
}

static void text(FILE *to, double x, double y, const char *how,
		 const char *what)
{
	fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>\n", x, y, how,
		what);
}

static void panel_grid(FILE *to, double x, double y, double height, double max)
{
	double step = grid_step(max);
	char label[32];

	for (double v = 0; v <= max; v += step) {
		double at = x + v / max * PANEL;

		fprintf(to,
			"<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
			"stroke=\"%s\"/>\n",
			at, y, at, y + height, v > 0 ? "#e3e6ea" : "#9aa1ab");
		snprintf(label, sizeof(label), "%g", v);
		text(to, at, y + height + 14,
		     "font-size=\"10\" fill=\"#6b7280\" "
		     "text-anchor=\"middle\"",
		     label);
	}
}

static void panel_bars(FILE *to, const struct bench *b, unsigned phase,
		       double x, double y, double max)
{
	char label[32];

	for (unsigned i = 0; i < BENCH_SETUPS; i++) {
		const struct bench_setup *s = &b->setups[i];
		double v = bench_median(s, phase), wide = v / max * PANEL;

		if (!s->runs)
			continue;
		fprintf(to,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
			"height=\"%d\" fill=\"%s\"/>\n",
			x, y, wide, BAR, colour(s));
		snprintf(label, sizeof(label), v < 100 ? "%.1f" : "%.0f", v);
		/* in the bar where there is no room behind it */
		if (wide > PANEL - 34)
			text(to, x + wide - 4, y + BAR - 3.5,
			     s->wiring.strict ? "font-size=\"10.5\" "
						"fill=\"#1f2328\" "
						"text-anchor=\"end\""
					      : "font-size=\"10.5\" "
						"fill=\"#ffffff\" "
						"text-anchor=\"end\"",
			     label);
		else
			text(to, x + wide + 4, y + BAR - 3.5,
			     "font-size=\"10.5\" fill=\"#1f2328\"", label);
		y += BAR_STEP;
	}
}

static void panel(FILE *to, const struct bench *b, unsigned phase, double x,
		  double y)
{
	const struct report_bench *p = &b->phases[phase];
	double max = phase_max(b, phase), height = bars(b) * BAR_STEP + 2;
	char name[64];
	int n;

	n = snprintf(
		name, sizeof(name), "%s, %llu %s", p->write ? "write" : "read",
		(unsigned long long)(p->kib < 1024 ? p->kib : p->kib / 1024),
		p->kib < 1024 ? "KiB" : "MiB");
	if (p->jobs > 1)
		snprintf(name + n, sizeof(name) - (size_t)n, ", %llu at a time",
			 (unsigned long long)p->jobs);
	text(to, x, y + 14,
	     "font-size=\"12.5\" font-weight=\"bold\" "
	     "fill=\"#1f2328\"",
	     name);
	y += PANEL_HEAD;
	panel_grid(to, x, y, height, max);
	panel_bars(to, b, phase, x, y + 4, max);
}

static void labels(FILE *to, const struct bench *b, double y)
{
	char label[96];

	y += PANEL_HEAD + 4 + BAR - 3.5;
	for (unsigned i = 0; i < BENCH_SETUPS; i++) {
		const struct bench_setup *s = &b->setups[i];

		if (!s->runs)
			continue;
		if (s->wiring.iommu == IOMMU_NONE)
			snprintf(label, sizeof(label), "%s, no IOMMU",
				 bench_disk(s));
		else
			snprintf(label, sizeof(label), "%s, IOMMU %s, %s",
				 bench_disk(s), bench_iommu(s), bench_mode(s));
		text(to, MARGIN + LABELS - 10, y,
		     "font-size=\"10.5\" fill=\"#1f2328\" text-anchor=\"end\"",
		     label);
		y += BAR_STEP;
	}
}

static void legend(FILE *to, double y)
{
	static const struct {
		const char *colour, *pale, *name;
	} kinds[] = {
		{ "#2b2f36", NULL, "QEMU's disk without an IOMMU" },
		{ "#6b7280", "#b8bdc6", "QEMU's disk" },
		{ "#2463a8", "#8bb6e0", "our disk by vfio-user" },
		{ "#1d8160", "#86ccb1", "our disk by vhost-user" },
	};
	double x = MARGIN + LABELS;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		fprintf(to,
			"<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" "
			"height=\"12\" fill=\"%s\"/>\n",
			x, y, kinds[i].colour);
		if (kinds[i].pale)
			fprintf(to,
				"<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" "
				"height=\"12\" fill=\"%s\"/>\n",
				x + 14, y, kinds[i].pale);
		text(to, x + (kinds[i].pale ? 32 : 18), y + 10.5,
		     "font-size=\"11\" fill=\"#1f2328\"", kinds[i].name);
		x += 40 + 6.3 * (double)strlen(kinds[i].name);
	}
	text(to, x, y + 10.5, "font-size=\"11\" fill=\"#6b7280\"",
	     "paler: strict, each unmap waits");
}

static void head(FILE *to, const struct bench *b)
{
	char line[256];

	text(to, MARGIN, 32,
	     "font-size=\"17\" font-weight=\"bold\" fill=\"#1f2328\"",
	     "Throughput of a guest's disk");
	snprintf(line, sizeof(line),
		 "MiB/s by O_DIRECT, more is better. Linux %s under QEMU %s "
		 "(%s), one image, medians of %u interleaved runs.",
		 b->kernel, b->qemu, b->accel, b->runs);
	text(to, MARGIN, 53, "font-size=\"12\" fill=\"#4b5563\"", line);
}

int bench_plot(const struct bench *b, const char *path)
{
	unsigned columns = (b->nphases + 1) / 2;
	int row = PANEL_HEAD + (int)bars(b) * BAR_STEP + AXIS + PANEL_STEP;
	int wide = 2 * MARGIN + LABELS + (int)columns * (PANEL + GAP);
	int high = TOP + 2 * row + LEGEND;
	FILE *to = fopen(path, "we");

	if (!to)
		return -errno;
	fprintf(to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" viewBox=\"0 0 %d %d\" " FONT ">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
		wide, high, wide, high);
	head(to, b);
	for (unsigned i = 0; i < b->nphases; i++) {
		double x = MARGIN + LABELS + (i % columns) * (PANEL + GAP);
		double y = TOP + (double)(i / columns) * row;

		if (!(i % columns))
			labels(to, b, y);
		panel(to, b, i, x, y);
	}
	legend(to, TOP + 2 * row);
	fprintf(to, "</svg>\n");
	errno = 0;
	if (ferror(to) | fclose(to))
		return errno ? -errno : -EIO;
	return 0;
}
