// How the guest tells the plugin where the counting begins and ends.
#pragma once

enum {
  MARK_FD = -31415,    // a file descriptor that no process has: closing it does nothing
  CLOSE_SYSCALL = 57,  // the system call's number on arm64
};
