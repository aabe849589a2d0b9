/*
 * The FFmpeg that nexis-py/ffmpeg/build --nvdec makes, on a driver that only counts (cuda.c, cuvid.c): what is kept from clip
 * to clip, what is not, and that no clip is shown another's pictures. Streams are opened as nexis-core opens them.
 *
 *   check CLIP... [-- DAMAGED-ROUNDS]
 */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/hwcontext.h>

/* Of hwcontext_cuda.h, which would ask for the headers of CUDA. */
#define AV_CUDA_USE_PRIMARY_CONTEXT 1

#include "driver.h"

static _Thread_local long current;
static long clip(void) { return current; }
Driver driver = { .clip = clip };

static int failures;
static const char *about = "";

#define EXPECT(what, ...)                                                                          \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            printf("FAILED %s, line %d: %s; ", about, __LINE__, #what);                            \
            printf("" __VA_ARGS__);                                                                \
            printf("\n  created %ld, destroyed %ld, most at once %ld, decoded %ld, mapped %ld, unmapped %ld, foreign %ld, " \
                   "wrong %ld, loaded %ld\n",                                                      \
                   driver.created, driver.destroyed, driver.most_alive, driver.decoded, driver.mapped, driver.unmapped,     \
                   driver.foreign, driver.wrong, driver.loaded);                                   \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

typedef struct Clip {
    const char *name;
    AVCodecParameters *parameters;
    AVPacket **packets;
    int nb;
} Clip;

static Clip read_clip(const char *path)
{
    Clip found = { .name = path };
    AVFormatContext *input = NULL;
    AVPacket *packet = av_packet_alloc();
    int stream = -1;

    if (avformat_open_input(&input, path, NULL, NULL) < 0) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        exit(2);
    }
    for (unsigned i = 0; i < input->nb_streams && stream < 0; i++)
        if (input->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO)
            stream = i;
    found.parameters = avcodec_parameters_alloc();
    avcodec_parameters_copy(found.parameters, input->streams[stream]->codecpar);
    while (av_read_frame(input, packet) >= 0) {
        if (packet->stream_index == stream) {
            found.packets = realloc(found.packets, (found.nb + 1) * sizeof(*found.packets));
            found.packets[found.nb++] = av_packet_clone(packet);
        }
        av_packet_unref(packet);
    }
    av_packet_free(&packet);
    avformat_close_input(&input);
    return found;
}

/* The device's format, once for each clip, and no other. */
static enum AVPixelFormat choose(AVCodecContext *context, const enum AVPixelFormat *formats)
{
    int *asked = context->opaque;

    if ((*asked)++)
        return AV_PIX_FMT_NONE;
    for (; *formats != AV_PIX_FMT_NONE; formats++)
        if (*formats == AV_PIX_FMT_CUDA)
            return AV_PIX_FMT_CUDA;
    return AV_PIX_FMT_NONE;
}

/* Whether the driver says how a clip's pictures were decoded: only then is its decoder kept. */
static int is_told(const Clip *clip)
{
    return clip->parameters->codec_id == AV_CODEC_ID_H264 || clip->parameters->codec_id == AV_CODEC_ID_HEVC;
}

typedef struct Outcome {
    int pictures, with_pixels, error, asked;
} Outcome;

/* As nvdec-keep.patch has it: the times of the pictures whose pixels are wanted. */
typedef struct Wanted {
    const int64_t *pts;
    int nb;
} Wanted;

static _Thread_local Wanted *wanted;

typedef AVPacket *(*Change)(const Clip *clip, int at, uint64_t seed);

static Outcome decode(AVBufferRef *device, const Clip *clip, Change change, uint64_t seed)
{
    static atomic_long clips = 1;
    Outcome found = { 0 };
    AVFrame *frame = av_frame_alloc(), *held[2] = { av_frame_alloc(), av_frame_alloc() };
    const AVCodec *codec = avcodec_find_decoder_by_name(avcodec_get_name(clip->parameters->codec_id));
    AVCodecContext *context = avcodec_alloc_context3(codec);

    current = atomic_fetch_add(&clips, 1);
    avcodec_parameters_to_context(context, clip->parameters);
    context->thread_count      = 1;
    context->hw_device_ctx     = av_buffer_ref(device);
    context->get_format        = choose;
    context->opaque            = &found.asked;
    context->extra_hw_frames   = 4;
    context->err_recognition  |= AV_EF_EXPLODE;
    context->hwaccel_context   = wanted;
    context->pkt_timebase      = (AVRational){ 1, 1000 };
    found.error = avcodec_open2(context, codec, NULL);
    for (int i = 0; i <= clip->nb && found.error >= 0; i++) {
        AVPacket *packet = NULL;

        if (i < clip->nb) {
            packet = change ? change(clip, i, seed) : av_packet_clone(clip->packets[i]);
            if (!packet)
                continue;
        }
        found.error = avcodec_send_packet(context, packet);
        av_packet_free(&packet);
        while (found.error >= 0) {
            found.error = avcodec_receive_frame(context, frame);
            if (found.error == AVERROR(EAGAIN)) {
                found.error = 0;
                break;
            }
            if (found.error == AVERROR_EOF)
                break;
            if (found.error >= 0 && frame->format == AV_PIX_FMT_CUDA) {
                found.pictures++;
                found.with_pixels += frame->data[0] != NULL;
                av_frame_unref(held[0]);
                av_frame_move_ref(held[0], held[1]);
                av_frame_move_ref(held[1], frame);
            }
        }
    }
    if (found.error == AVERROR_EOF)
        found.error = 0;
    avcodec_free_context(&context);
    av_frame_free(&frame);
    av_frame_free(&held[0]);
    av_frame_free(&held[1]);
    return found;
}

static AVBufferRef *begin(const char *what)
{
    AVBufferRef *device = NULL;

    about = what;
    memset(&driver, 0, sizeof(driver));
    driver.clip = clip;
    if (av_hwdevice_ctx_create(&device, AV_HWDEVICE_TYPE_CUDA, "0", NULL, AV_CUDA_USE_PRIMARY_CONTEXT) < 0) {
        fprintf(stderr, "no device\n");
        exit(1);
    }
    return device;
}

/* Everything that must hold whatever happened. */
static void end(AVBufferRef *device)
{
    av_buffer_unref(&device);
    EXPECT(driver.created == driver.destroyed && !driver.alive);
    EXPECT(driver.mapped == driver.unmapped);
    EXPECT(driver.released == 1);
    EXPECT(!driver.wrong);
    EXPECT(!driver.foreign);
    EXPECT(driver.loaded <= 1);
    printf("%-44s created %3ld  decoded %6ld  mapped %6ld\n", about, driver.created, driver.decoded, driver.mapped);
}

typedef struct Work {
    AVBufferRef *device;
    const Clip *clips;
    int nb, rounds, pictures, errors;
} Work;

static void *work(void *opaque)
{
    Work *own = opaque;

    for (int i = 0; i < own->rounds; i++) {
        Outcome found = decode(own->device, &own->clips[i % own->nb], NULL, 0);
        own->pictures += found.pictures;
        own->errors += found.error < 0;
    }
    return NULL;
}

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Leaves one packet in eight out, or changes bytes of it, or cuts it short. */
static AVPacket *damage(const Clip *clip, int at, uint64_t seed)
{
    uint64_t state = seed * 1000003 + at;
    AVPacket *packet;

    next(&state);
    next(&state);
    if (next(&state) % 8)
        return av_packet_clone(clip->packets[at]);
    if (!(next(&state) % 3))
        return NULL;
    packet = av_packet_clone(clip->packets[at]);
    if (av_packet_make_writable(packet) < 0)
        exit(2);
    if (!(next(&state) % 3) && packet->size > 8)
        av_shrink_packet(packet, 8 + next(&state) % (packet->size - 8));
    else
        for (int i = next(&state) % 4; i >= 0; i--)
            packet->data[next(&state) % FFMIN(packet->size, 64)] ^= 1 << next(&state) % 8;
    return packet;
}

static AVPacket *without_the_first(const Clip *clip, int at, uint64_t seed)
{
    return at ? av_packet_clone(clip->packets[at]) : NULL;
}

int main(int argc, char **argv)
{
    static Clip clips[64];
    AVBufferRef *device;
    int nb = 0, rounds = 40, kinds = 0, others = 0, pictures = 0;

    av_log_set_level(getenv("VERBOSE") ? AV_LOG_VERBOSE : AV_LOG_QUIET);
    for (int i = 1; i < argc && nb < 64; i++) {
        if (!strcmp(argv[i], "--")) {
            rounds = i + 1 < argc ? atoi(argv[i + 1]) : rounds;
            break;
        }
        clips[nb++] = read_clip(argv[i]);
    }
    if (!nb) {
        fprintf(stderr, "usage: check CLIP... [-- ROUNDS]\n");
        return 64;
    }

    device = begin("each clip twice, alone");
    for (int i = 0; i < nb; i++) {
        const long before = driver.created;
        Outcome once = decode(device, &clips[i], NULL, 0), again = decode(device, &clips[i], NULL, 0);

        EXPECT(once.error >= 0 && once.pictures > 0, "%s: %d pictures, error %d, asked %d times", clips[i].name,
               once.pictures, once.error, once.asked);
        EXPECT(again.error == once.error && again.pictures == once.pictures, "%s", clips[i].name);
        EXPECT(once.asked == 1, "%s asks for a format %d times", clips[i].name, once.asked);
        if (is_told(&clips[i])) {
            kinds += driver.created > before;
            EXPECT(driver.created - before <= 1, "%s", clips[i].name);
        } else {
            others++;
            EXPECT(driver.created - before == 2, "%s", clips[i].name);
        }
        pictures += once.pictures;
    }
    EXPECT(driver.created == kinds + 2 * others && driver.destroyed == 2 * others);
    EXPECT(kinds > 1 && others > 1, "clips of several kinds are needed");
    EXPECT(driver.mapped == 2 * pictures);
    end(device);

    device = begin("a decoder goes to clips of its own kind alone");
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < nb; i++)
            decode(device, &clips[i], NULL, 0);
    EXPECT(driver.created == kinds + 3 * others, "%d kinds", kinds);
    end(device);

    device = begin("pictures that are not done at once");
    driver.asked_in_vain = 5;
    for (int i = 0; i < nb; i++)
        EXPECT(decode(device, &clips[i], NULL, 0).error >= 0, "%s", clips[i].name);
    EXPECT(driver.created == kinds + others);
    end(device);

    device = begin("eight threads");
    {
        pthread_t threads[8];
        Work each[8];
        int total = 0;

        for (int i = 0; i < 8; i++) {
            each[i] = (Work){ .device = device, .clips = clips, .nb = nb, .rounds = nb * 4 };
            pthread_create(&threads[i], NULL, work, &each[i]);
        }
        for (int i = 0; i < 8; i++) {
            pthread_join(threads[i], NULL);
            total += each[i].pictures;
            EXPECT(!each[i].errors);
        }
        EXPECT(total == 8 * 4 * pictures);
        /* Eight in use and 24 idle. */
        EXPECT(driver.most_alive <= 32);
        EXPECT(driver.loaded <= 1);
    }
    end(device);

    {
        atomic_long *const calls[] = { &driver.fail_decode, &driver.fail_map, &driver.fail_unmap, &driver.bad_picture,
                                       &driver.bad_picture };
        const char *const names[] = { "a picture that is not taken", "a picture that is not mapped",
                                      "a picture that is not unmapped", "a picture with errors",
                                      "a picture with errors that are concealed" };

        for (int kind = 0; kind < 5; kind++) {
            device = begin(names[kind]);
            for (int i = 0; i < nb; i++) {
                const long created = driver.created, destroyed = driver.destroyed;
                const int told = kind < 3 || is_told(&clips[i]);
                Outcome found;

                driver.bad_as = kind == 3 ? 8 : 9;
                *calls[kind]  = 3;
                found = decode(device, &clips[i], NULL, 0);
                /* Not every clip has three pictures. */
                if (*calls[kind] == 0 && told) {
                    EXPECT(found.error < 0 || kind == 2, "%s", clips[i].name);
                    EXPECT(driver.destroyed == destroyed + 1, "%s", clips[i].name);
                    EXPECT(driver.wrong == 0);
                    *calls[kind] = 0;
                    EXPECT(decode(device, &clips[i], NULL, 0).error >= 0, "%s", clips[i].name);
                    EXPECT(driver.created >= created + 1, "%s", clips[i].name);
                } else {
                    EXPECT(found.error >= 0, "%s", clips[i].name);
                }
                *calls[kind] = 0;
            }
            end(device);
        }
    }

    device = begin("no memory for another decoder");
    for (int i = 0; i < nb; i++) {
        long created;

        /* Something is idle. */
        for (int k = 0; k < nb; k++)
            decode(device, &clips[k], NULL, 0);
        driver.fail_create = 1;
        created            = driver.created;
        EXPECT(decode(device, &clips[i], NULL, 0).error >= 0, "%s", clips[i].name);
        EXPECT(driver.created - created == !is_told(&clips[i]), "%s", clips[i].name);
        if (!is_told(&clips[i]))
            EXPECT(driver.alive == 0, "what was idle is gone");
        driver.fail_create = 0;
    }
    end(device);

    device = begin("no memory at all");
    driver.fail_create = 1;
    EXPECT(decode(device, &clips[0], NULL, 0).error < 0);
    EXPECT(decode(device, &clips[0], NULL, 0).error >= 0);
    end(device);

    device = begin("pictures that nobody asked for");
    for (int i = 0; i < nb; i++) {
        int64_t *times = malloc(clips[i].nb * sizeof(*times));
        Wanted some = { .pts = times };
        const long created = driver.created;
        int64_t last = INT64_MIN;
        Outcome found;

        for (int k = 0; k < clips[i].nb; k++) {
            if (k % 10 == 5)
                times[some.nb++] = clips[i].packets[k]->pts;
            last = FFMAX(last, clips[i].packets[k]->pts);
        }
        wanted = &some;
        found  = decode(device, &clips[i], NULL, 0);
        EXPECT(found.error >= 0 && found.pictures > 0 && found.with_pixels == some.nb, "%s: %d of %d", clips[i].name,
               found.with_pixels, some.nb);
        EXPECT(driver.created <= created + 1);
        /* One that nobody asked for is damaged: it is known before the last one is shown, also where none is done at once. */
        some = (Wanted){ .pts = &last, .nb = 1 };
        for (int patience = 0; patience < 2 && is_told(&clips[i]) && clips[i].nb > 10; patience++) {
            driver.asked_in_vain = patience * 3;
            driver.bad_as        = 9;
            driver.bad_picture   = 3;
            found = decode(device, &clips[i], NULL, 0);
            EXPECT(found.error < 0 && found.with_pixels == 0, "%s: error %d", clips[i].name, found.error);
        }
        driver.asked_in_vain = 0;
        wanted = NULL;
        free(times);
    }
    end(device);

    device = begin("clips without their first picture");
    for (int i = 0; i < nb; i++) {
        decode(device, &clips[i], NULL, 0);
        decode(device, &clips[i], without_the_first, 0);
    }
    EXPECT(!driver.foreign);
    end(device);

    device = begin("damaged clips after whole ones");
    {
        int refused = 0, shown = 0;

        for (int round = 0; round < rounds; round++) {
            for (int i = 0; i < nb; i++) {
                Outcome found;

                decode(device, &clips[i], NULL, 0);
                found = decode(device, &clips[i], damage, round * 64 + i);
                refused += found.error < 0;
                shown += found.error >= 0;
            }
        }
        printf("  %d damaged clips: the device's part is over for %d of them\n", refused + shown, refused);
    }
    end(device);

    if (failures)
        printf("%d FAILED\n", failures);
    return failures ? 1 : 0;
}
