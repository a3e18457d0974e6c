#include "tracker_client.h"

#include <stdexcept>

namespace autoglm {

namespace {

constexpr int32_t kTrackerMagic = 0x2F271;
constexpr int32_t kMaxMessage = 1 << 20;
constexpr int kTimeoutSeconds = 10;
// Request codes, and the answer to those that only do something.
constexpr int kPut = 3;
constexpr int kUpdateInfo = 5;
constexpr int kGetPendingMatchKeys = 7;
const char* const kSuccess = "0";

std::string Request(int code, const std::string& json_rest) {
  return "[" + std::to_string(code) + json_rest + "]";
}

}  // namespace

TrackerClient::TrackerClient(const Options& options, int port)
    : key_(options.key),
      json_address_(options.custom_addr.empty() ? "null" : "\"" + options.custom_addr + "\""),
      port_(port),
      socket_(Connect(options.tracker_host, options.tracker_port, kTimeoutSeconds)) {
  int32_t magic = kTrackerMagic;
  SendAll(socket_.get(), &magic, sizeof(magic));
  RecvAll(socket_.get(), &magic, sizeof(magic));
  if (magic != kTrackerMagic) throw std::runtime_error("this is not a TVM RPC tracker");
  Tell(Request(kUpdateInfo, ", {\"key\": \"server:" + key_ + "\", \"addr\": [" + json_address_ +
                                ", " + std::to_string(port_) + "]}"));
}

std::string TrackerClient::Offer() {
  // The tracker takes what stands before the last ':' as the key.
  std::string match_key = key_ + ":" + std::to_string(random_());
  Tell(Request(kPut, ", \"" + key_ + "\", [" + std::to_string(port_) + ", \"" + match_key +
                         "\"], " + json_address_));
  return match_key;
}

bool TrackerClient::IsPending(const std::string& match_key) {
  return Ask(Request(kGetPendingMatchKeys, "")).find("\"" + match_key + "\"") != std::string::npos;
}

std::string TrackerClient::Ask(const std::string& request) {
  SendString(socket_.get(), request);
  return RecvString(socket_.get(), kMaxMessage);
}

void TrackerClient::Tell(const std::string& request) {
  std::string answer = Ask(request);
  if (answer != kSuccess) throw std::runtime_error("the tracker answers " + answer);
}

}  // namespace autoglm
