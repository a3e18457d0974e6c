// The device's side of the TVM RPC tracker protocol (tvm/rpc/tracker.py and base.py).
#pragma once

#include <random>
#include <string>

#include "options.h"
#include "sockets.h"

namespace autoglm {

// One connection to the tracker. Everything throws std::runtime_error when the tracker is lost;
// the caller then makes a new client, which registers anew.
class TrackerClient {
 public:
  // Connects, and tells the tracker which key is served on which port.
  TrackerClient(const Options& options, int port);

  // Offers the device for one session. Returns the match key that the client will show.
  std::string Offer();

  // Whether the offer is still waiting: false once the tracker has given it to a client.
  bool IsPending(const std::string& match_key);

 private:
  std::string Ask(const std::string& request);
  void Tell(const std::string& request);  // expects the answer "success"

  std::string key_;
  std::string json_address_;
  int port_;
  Fd socket_;
  std::mt19937_64 random_{std::random_device{}()};
};

}  // namespace autoglm
