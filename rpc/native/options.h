// What the command line of the device server says.
#pragma once

#include <string>
#include <vector>

namespace autoglm {

struct Options {
  std::string host = "127.0.0.1";  // where the server listens
  int port = 9090;                 // first port that is tried
  int port_end = 9199;             // the port after the last one that is tried
  std::string tracker_host;
  int tracker_port = 0;
  std::string key;             // under which name the tracker lends this device
  std::string work_dir;        // session folders are made in here
  std::string custom_addr;     // where clients reach the server, if not where the tracker sees it
  std::vector<int> cpus;       // where sessions run; empty: wherever the system lets them
  std::string log_file;        // empty: stderr
  std::string sysfs_root;      // stands before /sys and /proc where the device's state is read
  double session_limit_s = 0;  // longest session, whatever the client asks for; 0: no limit
  bool exit_with_parent = false;  // end when the process that started the server ends
};

// Reads the command line; throws std::invalid_argument with a message for the user.
Options ParseOptions(int argc, char** argv);

extern const char* const kUsage;

}  // namespace autoglm
