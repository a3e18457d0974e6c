#include "log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <stdexcept>

namespace autoglm {

namespace {

constexpr off_t kLimitBytes = 1 << 20;

std::string file_path;  // of the log; empty: stderr as it was

}  // namespace

void LogToFile(const std::string& path) {
  // Appending, because sessions write there at the same time.
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) throw std::runtime_error("cannot write " + path + ": " + std::strerror(errno));
  dup2(fd, STDERR_FILENO);
  dup2(fd, STDOUT_FILENO);
  close(fd);
  file_path = std::filesystem::absolute(path);
}

void LimitLog() {
  struct stat state = {};
  if (file_path.empty() || fstat(STDERR_FILENO, &state) != 0 || state.st_size < kLimitBytes) return;
  // Renaming would leave a running session with the old file, which then had no limit.
  std::error_code ignored;
  std::filesystem::copy_file(file_path, file_path + ".1",
                             std::filesystem::copy_options::overwrite_existing, ignored);
  if (ftruncate(STDERR_FILENO, 0) != 0) file_path.clear();  // what cannot be limited is left alone
}

void Log(const std::string& message) {
  char when[32] = "";
  std::time_t now = std::time(nullptr);
  std::tm utc = {};
  std::strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  std::fprintf(stderr, "%s [device-server %d] %s\n", when, static_cast<int>(getpid()),
               message.c_str());
  LimitLog();
}

}  // namespace autoglm
