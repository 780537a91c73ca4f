# Sourced by test.sh: gets what the tests of pages need beside Python, where that can be done: chromium as root by apt-get,
# and axe-core by npm into a cache folder. Where it cannot, they are skipped, and say so.
if [ -z "$(type -P chromium chromium-browser google-chrome)" ] && [ "$(id -u)" = 0 ] && type -P apt-get >/dev/null; then
    echo "Installing chromium for the tests of pages ..." >&2
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium; } >/dev/null 2>&1 || true
fi
axe=${XDG_CACHE_HOME:-$HOME/.cache}/c3dhash/axe-core
if [ -z "${C3DHASH_AXE:-}" ] && [ ! -e "$axe/package/axe.min.js" ] && type -P npm >/dev/null; then
    { mkdir -p "$axe" && npm pack --silent --pack-destination "$axe" axe-core@4.14.1 &&
        tar -xzf "$axe"/axe-core-*.tgz -C "$axe" && rm "$axe"/axe-core-*.tgz; } >/dev/null 2>&1 || true
fi
