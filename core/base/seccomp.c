// SPDX-License-Identifier: Apache-2.0
// seccomp.c: system calls that a sandboxed process has no use for fail with EPERM. The second wall: the first is that
// the script has no function that makes them. It is a list of what is denied, since backends may need whatever their
// driver does.
#include "base/os.h"

#ifdef __linux__
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif
#endif

#ifdef ARCHITECTURE

static const int denied[] = {
    // processes and programs
    SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_kill, SYS_tkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo,
#ifdef SYS_fork
    SYS_fork, SYS_vfork,
#endif
#ifdef SYS_pidfd_open
    SYS_pidfd_open, SYS_pidfd_send_signal,
#endif
#ifdef SYS_pidfd_getfd
    SYS_pidfd_getfd,
#endif
    // connections
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen, SYS_accept, SYS_accept4,
    // names, mounts, privileges
    SYS_open_by_handle_at, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_unshare, SYS_setns, SYS_setuid, SYS_setgid, SYS_setreuid,
    SYS_setregid, SYS_setresuid, SYS_setresgid, SYS_setgroups, SYS_capset, SYS_symlinkat, SYS_linkat,
    SYS_mknodat,
#ifdef SYS_symlink
    SYS_symlink, SYS_link, SYS_mknod,
#endif
    // the kernel
    SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_init_module,
    SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot,
#ifdef SYS_io_uring_setup
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, // which does without the calls above
#endif
};

enum { DENIED = sizeof denied / sizeof *denied };

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)
#define IF_EQUAL(value, jump, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, jump, otherwise)

bool gr_os_restrict(void) {
    struct sock_filter filter[2 * DENIED + 24];
    unsigned short length = 0;
#define ADD(...) filter[length++] = (struct sock_filter)__VA_ARGS__
    ADD(LOAD(arch));
    ADD(IF_EQUAL(ARCHITECTURE, 1, 0));
    ADD(RETURN(SECCOMP_RET_KILL_PROCESS));
    ADD(LOAD(nr));
#ifdef __x86_64__
    ADD(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1)); // the x32 interface
    ADD(RETURN(SECCOMP_RET_ERRNO | EPERM));
#endif
#ifdef SYS_clone3
    ADD(IF_EQUAL(SYS_clone3, 0, 1)); // its arguments cannot be seen; the C library falls back to clone
    ADD(RETURN(SECCOMP_RET_ERRNO | ENOSYS));
#endif
    for (int i = 0; i < DENIED; i++) {
        ADD(IF_EQUAL((uint32_t)denied[i], 0, 1));
        ADD(RETURN(SECCOMP_RET_ERRNO | EPERM));
    }
    ADD(IF_EQUAL(SYS_tgkill, 0, 4)); // its own threads alone, as abort() does
    ADD(LOAD(args[0]));
    ADD(IF_EQUAL((uint32_t)getpid(), 0, 1));
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(RETURN(SECCOMP_RET_ERRNO | EPERM));
    ADD(IF_EQUAL(SYS_clone, 1, 0)); // threads alone
    ADD(RETURN(SECCOMP_RET_ALLOW));
    ADD(LOAD(args[0]));
    ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0));
    ADD(RETURN(SECCOMP_RET_ERRNO | EPERM));
    ADD(RETURN(SECCOMP_RET_ALLOW));
#undef ADD
    const struct sock_fprog program = {length, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

#else

bool gr_os_restrict(void) {
    return false;
}

#endif
