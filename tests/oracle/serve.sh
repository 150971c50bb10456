#!/bin/sh
# Starts and stops the program's server.
set -eu

name=${1:-server}
pid_file="/tmp/$name.pid"

say() {
    printf '%s: %s\n' "$name" "$*" >&2
}

case "${2:-start}" in
    start)
        if [ -f "$pid_file" ]; then
            say "it's running already"
            exit 1
        fi
        program --name "$name" &
        echo $! > "$pid_file"
        ;;
    stop)
        kill "$(cat "$pid_file")"
        rm -f "$pid_file"
        ;;
    *)
        say "start or stop, not $2"
        exit 2
        ;;
esac

for each in a b c; do
    say "$each" |
        tee -a log
done
