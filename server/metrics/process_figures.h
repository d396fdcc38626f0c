// What the operating system says about this process.
#pragma once

namespace causeway::server {

struct ProcessFigures {
  double resident_bytes = 0;
  double cpu_seconds = 0;  // user and system
  double open_fds = 0;
  double start_unix_seconds = 0;  // to a second or so
};

// A figure that cannot be read is 0.
ProcessFigures ReadProcessFigures();

}  // namespace causeway::server
