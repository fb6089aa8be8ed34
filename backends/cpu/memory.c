// SPDX-License-Identifier: Apache-2.0
// memory.c: memory for packed weights: mapped, so that a page which nobody has written takes none, and
// placed on the NUMA nodes of those who read it.
#include <sys/mman.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#endif

#include "cpu.h"

#define HUGE_PAGE (UINT64_C(2) << 20)

static uint64_t page_bytes(void) {
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t whole_pages(uint64_t bytes) {
    return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

// Begins at a multiple of a huge page: maps one more and gives the rest back. The last part, less than
// a huge page, takes small ones.
uint8_t *cpu_memory_map(uint64_t bytes) {
    if (!bytes || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = whole_pages(bytes);
    uint64_t spare = bytes >= HUGE_PAGE ? HUGE_PAGE : 0;
    uint8_t *raw = mmap(NULL, bytes + spare, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return NULL;
    if (!spare)
        return raw;
    uint64_t head = (HUGE_PAGE - (uintptr_t)raw % HUGE_PAGE) % HUGE_PAGE;
    if (head)
        munmap(raw, head);
    if (spare > head)
        munmap(raw + head + bytes, spare - head);
#ifdef MADV_HUGEPAGE
    madvise(raw + head, bytes, MADV_HUGEPAGE);
#endif
    return raw + head;
}

void cpu_memory_unmap(uint8_t *data, uint64_t bytes) {
    if (data)
        munmap(data, whole_pages(bytes));
}

bool cpu_memory_bind(uint8_t *begin, uint64_t bytes, uint32_t os_node) {
#ifdef __linux__
    enum { NODES = 1024, BITS = 8 * sizeof(unsigned long) };
    unsigned long nodes[NODES / BITS + 1] = {0};
    if (os_node >= NODES)
        return false;
    nodes[os_node / BITS] = 1ul << os_node % BITS;
    return syscall(SYS_mbind, begin, bytes, MPOL_PREFERRED, nodes, (unsigned long)NODES + 1, 0) == 0;
#else
    (void)begin, (void)bytes, (void)os_node;
    return false;
#endif
}

void cpu_memory_spread(const cpu_spread *spread, cpu_bind_function bind, void *context) {
    const gr_queue *queue = spread->queue;
    uint64_t each = cpu_panels_each(spread->panels, spread->working);
    uint64_t blocks = (spread->panels + each - 1) / each, from = 0, begin, end;
    uint64_t total = spread->matrices * spread->panels * spread->panel_bytes;
    uint32_t node = queue->groups[0].numa_node;
    for (uint64_t i = 0; i < spread->matrices * queue->group_count; i++) {
        const cpu_group *group = &queue->groups[i % queue->group_count];
        if (group->numa_node == node)
            continue;
        cpu_group_share(group, spread->working, blocks, &begin, &end);
        begin = begin * each < spread->panels ? begin * each : spread->panels;
        begin += i / queue->group_count * spread->panels;
        uint64_t to = begin * spread->panel_bytes / page_bytes() * page_bytes();
        if (to > from)
            bind(context, spread->data + from, to - from, node);
        from = to;
        node = group->numa_node;
    }
    if (whole_pages(total) > from)
        bind(context, spread->data + from, whole_pages(total) - from, node);
}
