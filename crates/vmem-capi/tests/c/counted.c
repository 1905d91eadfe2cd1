/* A process that only counted devices, and its child. */
#include "support.h"
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int32_t devices = 0;
    OK(vmem_device_count(&devices));
    CHECK(devices == 1);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        REFUSED(vmem_device_count(&devices), VMEM_ERROR_FORKED, "forked");
        REFUSED(vmem_open(0, NULL), VMEM_ERROR_FORKED, "forked");
        exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}
