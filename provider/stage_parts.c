/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a region lies: stage_parts.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "memory.h"
#include "own_map.h"
#include "reason.h"
#include "stage_parts.h"

struct finding {
	uintptr_t start;
	uintptr_t end;
	uintptr_t next; /* everything below it has been seen */
	bool has_gap;
	struct parts *parts;
};

static bool has_to_be_staged(const struct vma *vma, struct parts *parts,
			     bool *ret_is_shadow)
{
	struct memory_file file;

	if (vma->ino == 0 && (!vma->shared || vma->name[0] != '/'))
		return false;
	backing_look(vma, &file);
	if (!vma->shared) {
		parts->has_private_dax |= file.kind == MEMORY_FSDAX_PRIVATE;
		parts->has_private |= file.kind == MEMORY_PAGECACHE_PRIVATE;
		return false;
	}
	*ret_is_shadow = file.kind == MEMORY_SHADOW;
	return file.kind == MEMORY_SHADOW || file.kind == MEMORY_FSDAX ||
	       file.kind == MEMORY_PAGECACHE || file.kind == MEMORY_UNKNOWN;
}

static struct part *new_part(struct parts *parts)
{
	struct part *part = parts->part;

	if (parts->count == parts->room) {
		size_t room = parts->room ? 2 * parts->room : 4;

		part = realloc(part, room * sizeof(*part));
		if (!part)
			return NULL;
		parts->part = part;
		parts->room = room;
	}
	return &part[parts->count++];
}

static int add_part(const struct vma *vma, void *arg)
{
	struct finding *finding = arg;
	uintptr_t start, end;
	bool is_shadow;
	struct part *part;

	if (vma->end <= finding->next) /* a walk that was begun again */
		return 0;
	finding->has_gap |= vma->start > finding->next;
	finding->next = vma->end;
	if (!has_to_be_staged(vma, finding->parts, &is_shadow)) {
		finding->parts->has_other = true;
		return 0;
	}
	finding->parts->has_other |= !vma->readable;
	finding->parts->has_read_only |= !vma->writable;
	part = new_part(finding->parts);
	if (!part)
		return ENOMEM;
	start = vma->start > finding->start ? vma->start : finding->start;
	end = vma->end < finding->end ? vma->end : finding->end;
	*part = (struct part){
		.addr = start,
		.offset = vma->offset + (start - vma->start),
		.length = end - start,
		.dev = makedev(vma->dev_major, vma->dev_minor),
		.ino = vma->ino,
		.is_shadow = is_shadow,
	};
	return 0;
}

static int look_at_parts(struct parts *parts, struct lease_engine *engine,
			 uintptr_t start, uintptr_t end)
{
	struct finding finding = {start, end, start, false, parts};
	unsigned int look = own_map_look(engine);
	int r = vma_each(start, end, add_part, &finding);

	finding.has_gap |= finding.next < end;
	parts->has_other |= finding.has_gap;
	if (!r && finding.has_gap && own_map_has_moved(engine, look))
		return -STAGE_CHANGED;

	if (r > 0)
		return reason_set(-r, "no memory for the list of its files");
	if (r)
		return reason_set_kind(
			REASON_UNSEEN, r,
			"what is mapped cannot be seen (/proc: %s): "
			"see to it that /proc can be read and "
			"descriptors are left",
			strerrordesc_np(-r));
	return 0;
}

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* By what is mapped, and where in it. */
static int compare(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	int r = order(x->part->dev, y->part->dev);

	if (!r)
		r = order(x->part->ino, y->part->ino);
	return r ? r : order(x->offset, y->offset);
}

/* Whole pages are taken: those of the two leave nothing between them. */
static bool goes_on(const struct piece *last, const struct piece *next)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t end = (last->offset + last->length + page - 1) & ~(page - 1);

	return next->part->dev == last->part->dev &&
	       next->part->ino == last->part->ino &&
	       (next->offset & ~(page - 1)) <= end;
}

/* Of sorted ones, in place. */
static void join(struct parts *parts)
{
	struct piece *last = NULL;

	for (size_t i = 0; i < parts->count; i++) {
		const struct piece next = parts->piece[i];
		uint64_t end = next.offset + next.length;

		if (!last || !goes_on(last, &next)) {
			last = &parts->piece[parts->pieces++];
			*last = next;
		} else if (end > last->offset + last->length) {
			last->length = end - last->offset;
		}
		next.part->piece = parts->pieces - 1;
	}
}

static int find_pieces(struct parts *parts)
{
	parts->piece = calloc(parts->count, sizeof(*parts->piece));
	if (!parts->piece)
		return reason_set(-ENOMEM,
				  "no memory for the list of its files");
	for (size_t i = 0; i < parts->count; i++) {
		struct part *part = &parts->part[i];

		parts->piece[i] = (struct piece){.part = part,
						 .offset = part->offset,
						 .length = part->length};
	}
	qsort(parts->piece, parts->count, sizeof(*parts->piece), compare);
	join(parts);
	return 0;
}

int parts_find(struct parts *parts, struct lease_engine *engine,
	       uintptr_t start, uintptr_t end)
{
	int r;

	*parts = (struct parts){0};
	r = look_at_parts(parts, engine, start, end);
	return !r && parts->count ? find_pieces(parts) : r;
}

void parts_free(struct parts *parts)
{
	free(parts->part);
	free(parts->piece);
	*parts = (struct parts){0};
}
