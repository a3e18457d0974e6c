// What the server tells the person who runs it.
#pragma once

#include <string>

namespace autoglm {

// From now on stderr is this file, for all that writes there: TVM and the sessions, too. Throws
// std::runtime_error if it cannot be written.
void LogToFile(const std::string& path);

// Writes one line with the time (UTC) to stderr.
void Log(const std::string& message);

// Keeps the file of LogToFile below its limit: what is there goes to FILE.1. Called often.
void LimitLog();

}  // namespace autoglm
