#include "session.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <tvm/ffi/function.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "ffi_boundary.h"
#include "log.h"
#include "server_functions.h"

namespace autoglm {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kPollMs = 500;
constexpr double kGraceSeconds = 3;  // for a session whose client has gone
constexpr int kMaxFd = 1024;

class SessionFolder {
 public:
  explicit SessionFolder(const std::string& parent) : path_(parent + "/autoglm-session-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      throw std::runtime_error("cannot make a folder in " + parent + ": " + std::strerror(errno));
    }
  }
  ~SessionFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

[[noreturn]] void ServeAndExit(int connection, int alive, const SessionSettings& settings) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::signal(SIGTERM, SIG_DFL);
  std::signal(SIGINT, SIG_DFL);
  // Where memory runs out, this process shall go and not the server.
  std::ofstream("/proc/self/oom_score_adj") << "1000";
  // The listening socket and the tracker's must not outlive the server in here.
  for (int fd = 3; fd < kMaxFd; ++fd) {
    if (fd != connection && fd != alive) close(fd);
  }
  int status = 0;
  try {
    if (chdir(settings.folder.c_str()) != 0) {
      throw std::runtime_error("cannot enter " + settings.folder);
    }
    RegisterServerFunctions(settings);
    CallGlobal("rpc.ServerLoop", connection);
  } catch (const std::exception& error) {
    Log(std::string("session failed: ") + error.what());
    status = 1;
  }
  _exit(status);  // no destructors: a hanging thread of the client's code would block them
}

enum class End { kByItself, kTimeout, kClientGone, kStop };

// Waits until the child has ended or must be ended. `alive` becomes readable when the child ends.
End Watch(int alive, int connection, double timeout_s) {
  const Clock::time_point start = Clock::now();
  auto seconds_since = [](Clock::time_point t) {
    return std::chrono::duration<double>(Clock::now() - t).count();
  };
  bool client_gone = false;
  Clock::time_point gone_at;
  while (true) {
    pollfd fds[2] = {{alive, POLLIN, 0}, {client_gone ? -1 : connection, POLLRDHUP, 0}};
    poll(fds, 2, kPollMs);
    LimitLog();
    if (fds[0].revents != 0) return End::kByItself;
    if (stop_requested) return End::kStop;
    if (timeout_s > 0 && seconds_since(start) > timeout_s) return End::kTimeout;
    if (client_gone && seconds_since(gone_at) > kGraceSeconds) return End::kClientGone;
    if (!client_gone && fds[1].revents != 0) {
      client_gone = true;
      gone_at = Clock::now();
    }
  }
}

// What the client reads as the answer to the call that it waits for.
void TellClient(int connection, const std::string& message) {
  Log(message);
  try {
    SetTimeout(connection, 2);
    CallGlobal("rpc.ReturnException", connection, message);
  } catch (const std::exception&) {
    // The client has gone, and nobody is left to be told.
  }
}

void Report(End end, int status, int connection, double timeout_s) {
  if (end == End::kTimeout) {
    // The client's runtime knows this kind of error by its first word.
    TellClient(connection, "RPCSessionTimeoutError: the session's limit of " +
                               std::to_string(timeout_s) + " s has passed");
  } else if (end == End::kClientGone) {
    Log("the client has gone while its code ran: session killed");
  } else if (end == End::kByItself && WIFSIGNALED(status)) {
    TellClient(connection, "the session's process was killed by signal " +
                               std::to_string(WTERMSIG(status)) + " (" +
                               strsignal(WTERMSIG(status)) + ")");
  } else {
    Log("session ended");
  }
}

}  // namespace

void RunSession(Client client, const Options& options) {
  double timeout_s = client.timeout_s;
  if (options.session_limit_s > 0 && (timeout_s <= 0 || timeout_s > options.session_limit_s)) {
    timeout_s = options.session_limit_s;
  }
  SessionFolder folder(options.work_dir);
  Log("session for " + PeerOf(client.connection.get()));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for the session");
  Fd alive(ends[0]), held_by_child(ends[1]);
  pid_t child = fork();
  if (child < 0) throw std::runtime_error("no process for the session");
  if (child == 0) {
    ServeAndExit(client.connection.get(), held_by_child.get(),
                 {folder.path(), options.sysfs_root, options.cpus});
  }
  held_by_child.Close();

  End end = Watch(alive.get(), client.connection.get(), timeout_s);
  if (end != End::kByItself) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  Report(end, status, client.connection.get(), timeout_s);
}

}  // namespace autoglm
