/*
 * Decoders that are no longer used, kept for the next stream
 *
 * This file becomes part of FFmpeg and is under FFmpeg's licence.
 *
 * FFmpeg is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * FFmpeg is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with FFmpeg; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

#ifndef AVCODEC_NVDEC_POOL_H
#define AVCODEC_NVDEC_POOL_H

/*
 * It knows nothing of FFmpeg or NVIDIA, so that it is tested without either. A decoder is handed on only where all that it
 * was made with is the same. Those that are idle are bounded in number and in bytes; the one that was used longest ago goes
 * first. The lock is never held while a decoder is made or destroyed, for either takes long.
 */

#include <pthread.h>
#include <stdint.h>
#include <string.h>

/* Idle decoders that there is room for. */
#define NVDEC_POOL_ROOM 32

/* Everything that a decoder was made with, a number each, so that no padding is compared. */
#define NVDEC_POOL_KEY_WORDS 24

typedef struct NVDECPoolKey {
    uint64_t words[NVDEC_POOL_KEY_WORDS];
} NVDECPoolKey;

typedef struct NVDECIdle {
    NVDECPoolKey key;
    void        *decoder;
    uint64_t     bytes;
} NVDECIdle;

typedef struct NVDECPool {
    pthread_mutex_t lock;
    /* The one that was used longest ago comes first. */
    NVDECIdle       idle[NVDEC_POOL_ROOM];
    unsigned        nb_idle;
    unsigned        max_idle;
    uint64_t        bytes;
    uint64_t        max_bytes;
    void          (*destroy)(void *opaque, void *decoder);
    void           *opaque;
} NVDECPool;

/* Returns 0, or not where there is no lock to be had. */
static inline int nvdec_pool_init(NVDECPool *pool, unsigned max_idle, uint64_t max_bytes,
                                  void (*destroy)(void *opaque, void *decoder), void *opaque)
{
    memset(pool, 0, sizeof(*pool));
    pool->max_idle  = max_idle < NVDEC_POOL_ROOM ? max_idle : NVDEC_POOL_ROOM;
    pool->max_bytes = max_bytes;
    pool->destroy   = destroy;
    pool->opaque    = opaque;
    return pthread_mutex_init(&pool->lock, NULL);
}

/* Takes an entry out; the caller holds the lock. */
static inline NVDECIdle nvdec_pool_remove(NVDECPool *pool, unsigned at)
{
    NVDECIdle entry = pool->idle[at];

    pool->nb_idle--;
    pool->bytes -= entry.bytes;
    memmove(&pool->idle[at], &pool->idle[at + 1], (pool->nb_idle - at) * sizeof(entry));
    return entry;
}

/* An idle decoder that was made with exactly this, or NULL. Of several, the one that was used last. */
static inline void *nvdec_pool_take(NVDECPool *pool, const NVDECPoolKey *key)
{
    void *decoder = NULL;
    unsigned i;

    pthread_mutex_lock(&pool->lock);
    for (i = pool->nb_idle; i > 0; i--) {
        if (!memcmp(&pool->idle[i - 1].key, key, sizeof(*key))) {
            decoder = nvdec_pool_remove(pool, i - 1).decoder;
            break;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return decoder;
}

/* Keeps a decoder that nobody uses any more, for which others may have to go; or destroys it, where it is larger than all
 * that may be kept. */
static inline void nvdec_pool_give(NVDECPool *pool, const NVDECPoolKey *key, void *decoder, uint64_t bytes)
{
    void *gone[NVDEC_POOL_ROOM];
    unsigned nb_gone = 0, i;

    if (!pool->max_idle || bytes > pool->max_bytes) {
        pool->destroy(pool->opaque, decoder);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    while (pool->nb_idle >= pool->max_idle || pool->bytes > pool->max_bytes - bytes)
        gone[nb_gone++] = nvdec_pool_remove(pool, 0).decoder;
    pool->idle[pool->nb_idle].key     = *key;
    pool->idle[pool->nb_idle].decoder = decoder;
    pool->idle[pool->nb_idle].bytes   = bytes;
    pool->nb_idle++;
    pool->bytes += bytes;
    pthread_mutex_unlock(&pool->lock);
    for (i = 0; i < nb_gone; i++)
        pool->destroy(pool->opaque, gone[i]);
}

/* Destroys all that are idle, and says how many those were. */
static inline unsigned nvdec_pool_drain(NVDECPool *pool)
{
    void *gone[NVDEC_POOL_ROOM];
    unsigned nb_gone = 0, i;

    pthread_mutex_lock(&pool->lock);
    while (pool->nb_idle)
        gone[nb_gone++] = nvdec_pool_remove(pool, 0).decoder;
    pthread_mutex_unlock(&pool->lock);
    for (i = 0; i < nb_gone; i++)
        pool->destroy(pool->opaque, gone[i]);
    return nb_gone;
}

/* Nobody may use the pool meanwhile or after. */
static inline void nvdec_pool_uninit(NVDECPool *pool)
{
    nvdec_pool_drain(pool);
    pthread_mutex_destroy(&pool->lock);
}

#endif /* AVCODEC_NVDEC_POOL_H */
