# shellcheck shell=bash
# Sourced by the scripts of ops/aws: which deployment, and how to ask for what a stack exports.
deployment=${DEPLOYMENT:-pulsegate}

need() {
  local tool
  for tool; do
    command -v "$tool" >/dev/null || { echo "error: missing $tool" >&2; exit 1; }
  done
}

# exported NAME: the value of an export of the deployment; fails where there is none.
exported() {
  local value
  # As JSON: of an answer of several pages, text would be looked through a page at a time.
  value=$(aws cloudformation list-exports --query "Exports[?Name=='$deployment-$1'].Value | [0]" --output json | tr -d '"')
  if [ -z "$value" ] || [ "$value" = null ]; then
    echo "error: no stack exports $deployment-$1 yet" >&2
    return 1
  fi
  printf '%s\n' "$value"
}
