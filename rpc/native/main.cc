// A TVM RPC device server: registers at a tracker and lends the device, one session at a time.
//
// It is what tvm/rpc/server.py does, for devices without Python. The sessions themselves are served
// by TVM's runtime (`rpc.ServerLoop`).
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "log.h"
#include "options.h"
#include "session.h"
#include "sockets.h"
#include "tracker_client.h"

namespace autoglm {

volatile std::sig_atomic_t stop_requested = 0;

namespace {

constexpr int32_t kRpcMagic = 0xFF271;
constexpr int32_t kRpcKeyMismatch = kRpcMagic + 2;
constexpr int kHandshakeSeconds = 5;
constexpr int kPollMs = 500;
constexpr int kPollsPerPing = 4;  // the tracker is asked every 2 s
constexpr int kUnusedPings = 4;   // an offer that was taken and not used is renewed after 8 s
constexpr int kRetryPolls = 2;    // a lost tracker is looked for every second

// Greets who has connected; nothing if it is not the client that the tracker has sent.
std::optional<Client> Greet(Fd connection, const std::string& match_key, const std::string& key) {
  try {
    SetTimeout(connection.get(), kHandshakeSeconds);
    int32_t code = 0;
    RecvAll(connection.get(), &code, sizeof(code));
    if (code != kRpcMagic) throw std::runtime_error("not a TVM RPC client");
    std::istringstream words(RecvString(connection.get(), 4096));  // "client:KEY -timeout=SECONDS"
    std::string word;
    words >> word;
    if (word != "client:" + match_key) {
      SendAll(connection.get(), &kRpcKeyMismatch, sizeof(kRpcKeyMismatch));
      throw std::runtime_error("a client with a key that is not on offer");
    }
    Client client;
    while (words >> word) {
      if (word.rfind("-timeout=", 0) == 0) client.timeout_s = std::atof(word.c_str() + 9);
    }
    SendAll(connection.get(), &kRpcMagic, sizeof(kRpcMagic));
    SendString(connection.get(), "server:" + key);
    SetTimeout(connection.get(), 0);
    NoticeLostPeer(connection.get());
    client.connection = std::move(connection);
    return client;
  } catch (const std::runtime_error& error) {
    Log(std::string("connection refused: ") + error.what());
    return std::nullopt;
  }
}

// Offers the device until a client comes; nothing if the server is asked to stop.
std::optional<Client> WaitForClient(int listener, TrackerClient* tracker, const std::string& key) {
  std::string match_key = tracker->Offer();
  int polls = 0, unused = 0;
  while (!stop_requested) {
    LimitLog();
    pollfd incoming = {listener, POLLIN, 0};
    if (poll(&incoming, 1, kPollMs) > 0) {
      Fd connection(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.get() < 0) continue;
      std::optional<Client> client = Greet(std::move(connection), match_key, key);
      if (client.has_value()) return client;
    } else if (++polls % kPollsPerPing == 0) {
      unused = tracker->IsPending(match_key) ? 0 : unused + 1;
      if (unused >= kUnusedPings) {
        match_key = tracker->Offer();
        unused = 0;
      }
    }
  }
  return std::nullopt;
}

void ServeForever(const Options& options) {
  int port = 0;
  Fd listener = Listen(options.host, options.port, options.port_end, &port);
  Log("listening on " + options.host + ":" + std::to_string(port));
  std::unique_ptr<TrackerClient> tracker;
  std::string last_error;  // said once, not at every attempt
  while (!stop_requested) {
    try {
      if (tracker == nullptr) {
        tracker = std::make_unique<TrackerClient>(options, port);
        Log("registered as " + options.key);
        last_error.clear();
      }
      std::optional<Client> client = WaitForClient(listener.get(), tracker.get(), options.key);
      if (client.has_value()) RunSession(std::move(*client), options);
    } catch (const std::exception& error) {
      if (error.what() != last_error) Log(std::string("will register again: ") + error.what());
      last_error = error.what();
      tracker.reset();
      for (int i = 0; i < kRetryPolls && !stop_requested; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
      }
    }
  }
  Log("stopped");
}

void InstallSignals(bool exit_with_parent) {
  struct sigaction action = {};
  action.sa_handler = [](int) { stop_requested = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file that grows too large is an error of its write
  if (exit_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == 1) stop_requested = 1;  // it ended before it could be watched
  }
}

}  // namespace
}  // namespace autoglm

int main(int argc, char** argv) {
  autoglm::Options options;
  try {
    options = autoglm::ParseOptions(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "autoglm-device-server: %s\n%s", error.what(), autoglm::kUsage);
    return 2;
  }
  try {
    if (!options.log_file.empty()) autoglm::LogToFile(options.log_file);
    autoglm::InstallSignals(options.exit_with_parent);
    autoglm::ServeForever(options);
  } catch (const std::exception& error) {
    autoglm::Log(std::string("ended: ") + error.what());
    return 1;
  }
  return 0;
}
