// One client's stay on the device.
#pragma once

#include <csignal>
#include <string>

#include "options.h"
#include "sockets.h"

namespace autoglm {

// Set by SIGTERM and SIGINT; every wait looks at it at least twice a second.
extern volatile std::sig_atomic_t stop_requested;

struct Client {
  Fd connection;
  double timeout_s = 0;  // 0: no limit
};

// Serves the client in a child process with a folder of its own, so that code which crashes, hangs
// or fills its folder takes only its session with it. Returns when the session has ended, for
// whatever reason, and its process and folder are gone. A client that is still there is told why.
void RunSession(Client client, const Options& options);

}  // namespace autoglm
