/* The pool of decoders that goes into FFmpeg (nexis-py/ffmpeg/nvdec_pool.h), to be called from tests. */

#include <stdlib.h>

#include "../../nexis-py/ffmpeg/nvdec_pool.h"

size_t nexis_nvdec_key_words(void) { return NVDEC_POOL_KEY_WORDS; }
size_t nexis_nvdec_room(void) { return NVDEC_POOL_ROOM; }

NVDECPool *nexis_nvdec_pool_new(unsigned max_idle, uint64_t max_bytes, void (*destroy)(void *, void *), void *opaque)
{
    NVDECPool *pool = malloc(sizeof(*pool));

    if (pool && nvdec_pool_init(pool, max_idle, max_bytes, destroy, opaque)) {
        free(pool);
        pool = NULL;
    }
    return pool;
}

void *nexis_nvdec_pool_take(NVDECPool *pool, const NVDECPoolKey *key) { return nvdec_pool_take(pool, key); }

void nexis_nvdec_pool_give(NVDECPool *pool, const NVDECPoolKey *key, void *decoder, uint64_t bytes)
{
    nvdec_pool_give(pool, key, decoder, bytes);
}

unsigned nexis_nvdec_pool_drain(NVDECPool *pool) { return nvdec_pool_drain(pool); }

void nexis_nvdec_pool_free(NVDECPool *pool)
{
    nvdec_pool_uninit(pool);
    free(pool);
}
