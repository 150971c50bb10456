/* Bytes between one thread that writes and one that reads, without a lock. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct ring {
    unsigned char *bytes;
    size_t mask;
    _Atomic size_t head; /* where the writer is */
    _Atomic size_t tail; /* where the reader is */
};

/* The next power of two, so that a position is cut by a mask. */
static size_t round_up(size_t wanted) {
    size_t size = 1;
    while (size < wanted)
        size <<= 1;
    return size;
}

bool ring_open(struct ring *ring, size_t wanted) {
    size_t size = round_up(wanted);
    ring->bytes = malloc(size);
    ring->mask = size - 1;
    atomic_store(&ring->head, 0);
    atomic_store(&ring->tail, 0);
    return ring->bytes != NULL;
}

size_t ring_used(struct ring *ring) {
    return atomic_load_explicit(&ring->head, memory_order_acquire) -
           atomic_load_explicit(&ring->tail, memory_order_acquire);
}

/* Takes as many bytes as there is room for. */
size_t ring_write(struct ring *ring, const void *from, size_t count) {
    size_t room = ring->mask + 1 - ring_used(ring);
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    if (count > room)
        count = room;
    for (size_t i = 0; i < count; i++)
        ring->bytes[(head + i) & ring->mask] = ((const unsigned char *)from)[i];
    atomic_store_explicit(&ring->head, head + count, memory_order_release);
    return count;
}

size_t ring_read(struct ring *ring, void *to, size_t count) {
    size_t used = ring_used(ring);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (count > used)
        count = used;
    for (size_t i = 0; i < count; i++)
        ((unsigned char *)to)[i] = ring->bytes[(tail + i) & ring->mask];
    atomic_store_explicit(&ring->tail, tail + count, memory_order_release);
    return count;
}

void ring_close(struct ring *ring) {
    free(ring->bytes);
    memset(ring, 0, sizeof *ring);
}
