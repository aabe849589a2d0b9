/* Stands in for libcuda.so.1: one device, one context. */

#include <stddef.h>
#include "driver.h"

typedef int CUresult;

static char context;
static _Thread_local int depth;

/* What is asked for and never called here. */
#define ABSENT(name) CUresult name(void) { atomic_fetch_add(&driver.wrong, 1); return 999; }
#include "absent.h"

CUresult cuInit(unsigned flags) { return 0; }
CUresult cuDeviceGet(int *device, int index) { *device = index; return index ? 101 : 0; }
CUresult cuDeviceGetAttribute(int *value, int attribute, int device) { *value = 512; return 0; }
CUresult cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 0; return 0; }
CUresult cuDevicePrimaryCtxSetFlags(int device, unsigned flags) { return 0; }
CUresult cuDevicePrimaryCtxRetain(void **out, int device) { *out = &context; return 0; }
CUresult cuDevicePrimaryCtxRelease(int device)
{
    /* Whatever lives in a context has to go before it. */
    atomic_fetch_add(&driver.wrong, atomic_load(&driver.alive));
    atomic_fetch_add(&driver.released, 1);
    return 0;
}
CUresult cuCtxPushCurrent_v2(void *of) { depth++; return of == &context ? 0 : 201; }
CUresult cuCtxPopCurrent_v2(void **out) { *out = &context; return depth-- > 0 ? 0 : 201; }
CUresult cuGetErrorName(CUresult error, const char **text) { *text = "an error"; return 0; }
CUresult cuGetErrorString(CUresult error, const char **text) { *text = "as it was asked for"; return 0; }
