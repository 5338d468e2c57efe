#!/bin/sh
# pulumi-language-python: starts the language host with the Python of the project that the engine works
# in: TPU_STACK_ROOT, else the first project upwards from here, else the one that installed this file.
set -eu

is_project() {
    [ -x "$1/.venv/bin/python" ] && [ -f "$1/toolchain/language_host/__main__.py" ]
}

folder=$(pwd)
while [ "$folder" != / ] && ! is_project "$folder"; do
    folder=$(dirname "$folder")
done

for project in "${TPU_STACK_ROOT:-/}" "$folder" "@PROJECT@"; do
    if is_project "$project"; then
        # -P: the module is the project's own, found by its environment, never one in the current folder.
        exec "$project/.venv/bin/python" -P -m toolchain.language_host --launcher "$0" "$@"
    fi
done
echo "pulumi-language-python: no project with a .venv here or in @PROJECT@. Run \`make setup\` there" >&2
exit 1
