# shellcheck shell=bash
# Sourced by the scripts beside it: where the services live, and what they all say and ask.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
RUN=${PULSEGATE_RUN_DIR:-$ROOT/.run}
mkdir -p "$RUN"
RUN=$(cd "$RUN" && pwd -P)
export PULSEGATE_KAFKA_PORT=${PULSEGATE_KAFKA_PORT:-9092}
export PULSEGATE_KAFKA_CONTROLLER_PORT=${PULSEGATE_KAFKA_CONTROLLER_PORT:-$((PULSEGATE_KAFKA_PORT + 1))}
export PULSEGATE_POSTGRES_PORT=${PULSEGATE_POSTGRES_PORT:-5432}

# Progress is for people: stdout is kept for what a script reads.
say() { printf '%s\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# port_open HOST PORT
port_open() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# kafka_answers HOST PORT: asks for the API versions. Anything that talks Kafka answers with a length below 2^24,
# so its first byte is zero; an HTTP server or a database says something else, or nothing.
kafka_answers() (
  exec 3<>"/dev/tcp/$1/$2" || exit 1
  printf '\0\0\0\016\0\022\0\0\0\0\0\007\0\004ping' >&3 || exit 1
  IFS= read -r -t 3 -n 1 -d '' first <&3 && [ -z "$first" ]
) 2>/dev/null

# who_listens PORT: the program that holds a port, as far as this user may know.
who_listens() {
  if command -v ss >/dev/null; then
    ss -Hltnp "sport = :$1" | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/\1, pid \2/p' | head -n 1
  elif command -v lsof >/dev/null; then
    lsof -nP -iTCP:"$1" -sTCP:LISTEN | awk 'NR == 2 { print $1 ", pid " $2 }'
  fi
}

# need_port PORT VARIABLE WHAT: stops with a clear word if the port is taken.
need_port() {
  port_open 127.0.0.1 "$1" || return 0
  local who
  who=$(who_listens "$1")
  die "port $1, wanted for $3, is taken by ${who:-another program}.
  Stop that program, or choose another port: $2=$(($1 + 10000)) make …
  To use a Kafka and a PostgreSQL that run already, set PULSEGATE_KAFKA_BOOTSTRAP and PULSEGATE_DATABASE_URL."
}

# runs PID TEXT: is that process alive, and is it ours? A pid in a stale file may belong to anybody by now.
runs() {
  case $(ps -ww -o args= -p "$1" 2>/dev/null) in
    *"$2"*) true ;;
    *) false ;;
  esac
}
