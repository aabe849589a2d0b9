/* What the stand-ins for NVIDIA's driver count, and which of their calls fail. It lies in the program that checks. */

#include <stdatomic.h>

typedef struct Driver {
    /* The clip that the calling thread decodes, by a number. */
    long (*clip)(void);
    atomic_long loaded;    /* of the decoder's library */
    atomic_long created, destroyed, alive, most_alive;
    atomic_long decoded, mapped, unmapped, released;
    /* A picture refers to one of another clip, or to none. */
    atomic_long foreign;
    /* A call that the driver would not forgive: a decoder after its end, a surface that there is not, a context that is gone. */
    atomic_long wrong;
    /* The call of this kind that fails, counted down; 0 for none. */
    atomic_long fail_create, fail_decode, fail_map, fail_unmap;
    /* The picture that is said to be so: 8 with errors, 9 with concealed ones; counted down. */
    atomic_long bad_picture, bad_as;
    /* How often a picture is said to be under way before it is done. */
    atomic_long asked_in_vain;
} Driver;

extern Driver driver;
