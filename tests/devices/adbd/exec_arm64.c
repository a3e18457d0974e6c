// Preloaded into the simulated phone's shell: arm64 programs start under qemu, as binfmt_misc would
// have it, which only the machine's administrator can set up.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char** environ;

static int IsArm64(const char* path) {
  Elf64_Ehdr head;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t size = read(fd, &head, sizeof(head));
  close(fd);
  return size == (ssize_t)sizeof(head) && memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 &&
         head.e_machine == EM_AARCH64;
}

int execve(const char* path, char* const argv[], char* const env[]) {
  int (*real)(const char*, char* const*, char* const*) = dlsym(RTLD_NEXT, "execve");
  if (!IsArm64(path)) return real(path, argv, env);
  int count = 0;
  while (argv[count] != NULL) ++count;
  // qemu -cpu CPU -E LD_PRELOAD=LIBRARY path argv[1]...
  char** words = calloc(count + 8, sizeof(char*));
  char preload[4096];
  snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", getenv("PHONE_PRELOAD"));
  int n = 0;
  words[n++] = getenv("PHONE_QEMU");
  words[n++] = "-cpu";
  words[n++] = getenv("PHONE_CPU");
  words[n++] = "-E";
  words[n++] = preload;
  words[n++] = (char*)path;
  for (int i = 1; i < count; ++i) words[n++] = argv[i];
  return real(words[0], words, env);
}

int execv(const char* path, char* const argv[]) { return execve(path, argv, environ); }

// Only for programs with a '/' in their name; the rest are this machine's tools.
int execvp(const char* file, char* const argv[]) {
  int (*real)(const char*, char* const*) = dlsym(RTLD_NEXT, "execvp");
  return strchr(file, '/') != NULL ? execve(file, argv, environ) : real(file, argv);
}
