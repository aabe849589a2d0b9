/* Stands in for libnvcuvid.so.1. A surface remembers which clip's picture it holds, as a real one would show it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/dynlink_nvcuvid.h>

#include "driver.h"

#define SURFACES 64

typedef struct Fake {
    unsigned magic;
    CUVIDDECODECREATEINFO made;
    long clip[SURFACES];
    long busy[SURFACES];
    long status[SURFACES];
    unsigned long mapped;
} Fake;

#define MAGIC 0x7eedu

#define ABSENT(name) CUresult name(void) { atomic_fetch_add(&driver.wrong, 1); return 999; }
#include "absent.h"

__attribute__((constructor)) static void loaded(void) { atomic_fetch_add(&driver.loaded, 1); }

static int due(atomic_long *count)
{
    long left = atomic_load(count);
    return left > 0 && atomic_fetch_sub(count, 1) == 1;
}

static CUresult wrong(const char *what)
{
    fprintf(stderr, "driver: %s\n", what);
    atomic_fetch_add(&driver.wrong, 1);
    return (CUresult)400;
}

CUresult cuvidGetDecoderCaps(CUVIDDECODECAPS *caps)
{
    caps->bIsSupported = 1;
    caps->nNumNVDECs   = 3;
    caps->nMaxWidth    = caps->nMaxHeight = 8192;
    caps->nMaxMBCount  = 8192 * 8192 / 256;
    caps->nMinWidth    = caps->nMinHeight = 16;
    return 0;
}

CUresult cuvidCreateDecoder(CUvideodecoder *out, CUVIDDECODECREATEINFO *info)
{
    Fake *fake;
    long alive, most;

    if (due(&driver.fail_create))
        return (CUresult)2;
    if (info->ulNumDecodeSurfaces > SURFACES)
        return wrong("too many surfaces");
    fake = calloc(1, sizeof(*fake));
    fake->magic = MAGIC;
    fake->made  = *info;
    atomic_fetch_add(&driver.created, 1);
    alive = atomic_fetch_add(&driver.alive, 1) + 1;
    most  = atomic_load(&driver.most_alive);
    while (most < alive && !atomic_compare_exchange_weak(&driver.most_alive, &most, alive))
        ;
    *out = fake;
    return 0;
}

CUresult cuvidDestroyDecoder(CUvideodecoder decoder)
{
    Fake *fake = decoder;

    if (fake->magic != MAGIC)
        return wrong("a decoder is destroyed that is none");
    if (fake->mapped)
        return wrong("a decoder is destroyed whose pictures are mapped");
    fake->magic = 0;
    atomic_fetch_add(&driver.destroyed, 1);
    atomic_fetch_sub(&driver.alive, 1);
    /* Not freed, so that a use after its end is found. */
    return 0;
}

static void refer(Fake *fake, int surface)
{
    if (surface < 0 || surface >= (int)fake->made.ulNumDecodeSurfaces || fake->clip[surface] != driver.clip())
        atomic_fetch_add(&driver.foreign, 1);
}

CUresult cuvidDecodePicture(CUvideodecoder decoder, CUVIDPICPARAMS *picture)
{
    Fake *fake = decoder;
    const int at = picture->CurrPicIdx;
    int i;

    if (fake->magic != MAGIC || at < 0 || at >= (int)fake->made.ulNumDecodeSurfaces || !picture->nNumSlices)
        return wrong("a picture cannot be decoded");
    if (due(&driver.fail_decode))
        return CUDA_ERROR_UNKNOWN;
    switch (fake->made.CodecType) {
    case cudaVideoCodec_H264:
        for (i = 0; i < 16; i++)
            if (picture->CodecSpecific.h264.dpb[i].used_for_reference)
                refer(fake, picture->CodecSpecific.h264.dpb[i].PicIdx);
        break;
    case cudaVideoCodec_HEVC: {
        const CUVIDHEVCPICPARAMS *hevc = &picture->CodecSpecific.hevc;
        for (i = 0; i < hevc->NumPocStCurrBefore; i++)
            refer(fake, hevc->RefPicIdx[hevc->RefPicSetStCurrBefore[i]]);
        for (i = 0; i < hevc->NumPocStCurrAfter; i++)
            refer(fake, hevc->RefPicIdx[hevc->RefPicSetStCurrAfter[i]]);
        for (i = 0; i < hevc->NumPocLtCurr; i++)
            refer(fake, hevc->RefPicIdx[hevc->RefPicSetLtCurr[i]]);
        break;
    }
    case cudaVideoCodec_VP9: {
        const CUVIDVP9PICPARAMS *vp9 = &picture->CodecSpecific.vp9;
        if (vp9->frameType && !vp9->intraOnly) {
            refer(fake, vp9->LastRefIdx);
            refer(fake, vp9->GoldenRefIdx);
            refer(fake, vp9->AltRefIdx);
        }
        break;
    }
    case cudaVideoCodec_AV1: {
        const CUVIDAV1PICPARAMS *av1 = &picture->CodecSpecific.av1;
        if (av1->frame_type == 1 || av1->frame_type == 3)
            for (i = 0; i < 7; i++)
                refer(fake, av1->ref_frame[i].index);
        fake->clip[av1->decodePicIdx] = driver.clip();
        break;
    }
    default:
        return wrong("a codec that there is none of");
    }
    fake->clip[at]   = driver.clip();
    fake->busy[at]   = atomic_load(&driver.asked_in_vain);
    fake->status[at] = due(&driver.bad_picture) ? atomic_load(&driver.bad_as) : cuvidDecodeStatus_Success;
    atomic_fetch_add(&driver.decoded, 1);
    return 0;
}

CUresult cuvidGetDecodeStatus(CUvideodecoder decoder, int at, CUVIDGETDECODESTATUS *status)
{
    Fake *fake = decoder;

    if (fake->magic != MAGIC || at < 0 || at >= (int)fake->made.ulNumDecodeSurfaces)
        return wrong("no such picture");
    if (fake->made.CodecType != cudaVideoCodec_H264 && fake->made.CodecType != cudaVideoCodec_HEVC)
        return (CUresult)801;
    status->decodeStatus = fake->busy[at]-- > 0 ? cuvidDecodeStatus_InProgress : fake->status[at];
    return 0;
}

CUresult cuvidMapVideoFrame64(CUvideodecoder decoder, int at, unsigned long long *address, unsigned *pitch,
                              CUVIDPROCPARAMS *how)
{
    Fake *fake = decoder;
    const size_t width = (fake->made.ulTargetWidth + 255) & ~(size_t)255;
    const size_t bytes = fake->made.OutputFormat == cudaVideoSurfaceFormat_NV12 ? 1 : 2;
    unsigned char *memory;

    if (fake->magic != MAGIC || at < 0 || at >= (int)fake->made.ulNumDecodeSurfaces)
        return wrong("no such picture to map");
    if (fake->mapped >= fake->made.ulNumOutputSurfaces)
        return wrong("more pictures are mapped than was agreed");
    if (due(&driver.fail_map))
        return CUDA_ERROR_UNKNOWN;
    if (fake->clip[at] != driver.clip())
        atomic_fetch_add(&driver.foreign, 1);
    fake->busy[at] = 0;
    memory = malloc(width * bytes * fake->made.ulTargetHeight * 3 / 2);
    memset(memory, 128, width * bytes * fake->made.ulTargetHeight * 3 / 2);
    *address = (unsigned long long)(size_t)memory;
    *pitch   = width * bytes;
    fake->mapped++;
    atomic_fetch_add(&driver.mapped, 1);
    return 0;
}

CUresult cuvidUnmapVideoFrame64(CUvideodecoder decoder, unsigned long long address)
{
    Fake *fake = decoder;

    if (fake->magic != MAGIC || !fake->mapped)
        return wrong("a picture is unmapped that was not mapped");
    free((void *)(size_t)address);
    fake->mapped--;
    atomic_fetch_add(&driver.unmapped, 1);
    return due(&driver.fail_unmap) ? CUDA_ERROR_UNKNOWN : 0;
}
