/* Many small allocations that all end at the same moment. */

#include <stdint.h>
#include <stdlib.h>

#define BLOCK 65536

struct block {
    struct block *before;
    size_t used;
    size_t size;
    unsigned char bytes[];
};

struct arena {
    struct block *last;
    size_t total;
};

static struct block *more(struct arena *arena, size_t size) {
    struct block *block = malloc(sizeof *block + (size > BLOCK ? size : BLOCK));
    if (block == NULL)
        return NULL;
    block->before = arena->last;
    block->used = 0;
    block->size = size > BLOCK ? size : BLOCK;
    arena->last = block;
    return block;
}

/* Memory for an object, on an address that suits any type. NULL if there is none left. */
void *arena_get(struct arena *arena, size_t size) {
    size_t aligned = (size + 15) & ~(size_t)15;
    struct block *block = arena->last;
    if (block == NULL || block->size - block->used < aligned)
        block = more(arena, aligned);
    if (block == NULL)
        return NULL;
    void *place = block->bytes + block->used;
    block->used += aligned;
    arena->total += aligned;
    return place;
}

/* Everything that was handed out is gone after this. */
void arena_drop(struct arena *arena) {
    while (arena->last != NULL) {
        struct block *before = arena->last->before;
        free(arena->last);
        arena->last = before;
    }
    arena->total = 0;
}

/* The high-water mark, for those who want to tune BLOCK. */
size_t arena_total(const struct arena *arena) {
    return arena->total;
}
