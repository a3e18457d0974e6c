#include "options.h"

#include <cctype>
#include <cstdlib>
#include <functional>
#include <map>
#include <stdexcept>

#include "affinity.h"
#include "cpu_list.h"

namespace autoglm {

const char* const kUsage =
    "usage: autoglm-device-server --tracker HOST:PORT --key KEY [options]\n"
    "  --host ADDR            address to listen on (127.0.0.1)\n"
    "  --port N               first port to try (9090)\n"
    "  --port-end N           port after the last one to try (9199)\n"
    "  --work-dir DIR         where session folders are made ($TMPDIR or /tmp)\n"
    "  --custom-addr ADDR     address that clients shall use to reach this device\n"
    "  --session-limit SEC    longest session, whatever the client asks for (no limit)\n"
    "  --cpus LIST            CPUs that sessions run on, such as 4-7 (all)\n"
    "  --log FILE             write the log there, at most 1 MB and once more in FILE.1 (stderr)\n"
    "  --sysfs-root DIR       put before /sys and /proc where the device's state is read\n"
    "  --exit-with-parent     end when the starting process ends\n";

namespace {

int ParsePort(const std::string& option, const std::string& text) {
  char* end = nullptr;
  long port = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || port < 1 || port > 65535) {
    throw std::invalid_argument(option + ": not a port (1 to 65535): '" + text + "'");
  }
  return static_cast<int>(port);
}

// Keys and addresses travel inside JSON, and ':' would break the tracker's own bookkeeping, so
// only characters that mean nothing to either are let through.
std::string PlainName(const std::string& option, const std::string& text, const char* also) {
  for (unsigned char c : text) {
    if (!std::isalnum(c) && std::string(also).find(static_cast<char>(c)) == std::string::npos) {
      throw std::invalid_argument(option + ": only letters, digits and '" + also + "': '" + text +
                                  "'");
    }
  }
  if (text.empty() || text.size() > 128) {
    throw std::invalid_argument(option + ": 1 to 128 characters");
  }
  return text;
}

void ParseTracker(const std::string& text, Options* options) {
  size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    throw std::invalid_argument("--tracker: expected HOST:PORT, got '" + text + "'");
  }
  options->tracker_host = text.substr(0, colon);
  options->tracker_port = ParsePort("--tracker", text.substr(colon + 1));
}

double ParseSeconds(const std::string& option, const std::string& text) {
  char* end = nullptr;
  double seconds = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(seconds >= 0)) {
    throw std::invalid_argument(option + ": not a number of seconds: '" + text + "'");
  }
  return seconds;
}

std::vector<int> ParseCpus(const std::string& text) {
  try {
    std::vector<int> cpus = ParseCpuList(text);
    CheckCpusExist(cpus);
    return cpus;
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string("--cpus: ") + error.what());
  }
}

}  // namespace

Options ParseOptions(int argc, char** argv) {
  Options o;
  const char* tmp = std::getenv("TMPDIR");
  o.work_dir = tmp != nullptr && *tmp != '\0' ? tmp : "/tmp";
  const std::map<std::string, std::function<void(const std::string&)>> with_value = {
      {"--host", [&o](const std::string& v) { o.host = v; }},
      {"--port", [&o](const std::string& v) { o.port = ParsePort("--port", v); }},
      {"--port-end", [&o](const std::string& v) { o.port_end = ParsePort("--port-end", v); }},
      {"--tracker", [&o](const std::string& v) { ParseTracker(v, &o); }},
      {"--key", [&o](const std::string& v) { o.key = PlainName("--key", v, "._-"); }},
      {"--work-dir", [&o](const std::string& v) { o.work_dir = v; }},
      {"--custom-addr",
       [&o](const std::string& v) { o.custom_addr = PlainName("--custom-addr", v, "._-:"); }},
      {"--session-limit",
       [&o](const std::string& v) { o.session_limit_s = ParseSeconds("--session-limit", v); }},
      {"--cpus", [&o](const std::string& v) { o.cpus = ParseCpus(v); }},
      {"--log", [&o](const std::string& v) { o.log_file = v; }},
      {"--sysfs-root", [&o](const std::string& v) { o.sysfs_root = v; }},
  };
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--exit-with-parent") {
      o.exit_with_parent = true;
      continue;
    }
    auto found = with_value.find(name);
    if (found == with_value.end()) throw std::invalid_argument("unknown option '" + name + "'");
    if (i + 1 == argc) throw std::invalid_argument(name + ": a value is missing");
    found->second(argv[++i]);
  }
  if (o.tracker_host.empty()) throw std::invalid_argument("--tracker HOST:PORT is missing");
  if (o.key.empty()) throw std::invalid_argument("--key KEY is missing");
  if (o.port_end <= o.port) throw std::invalid_argument("--port-end must be above --port");
  return o;
}

}  // namespace autoglm
