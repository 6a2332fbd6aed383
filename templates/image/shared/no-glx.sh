#!/bin/sh
# OpenCV's wheel links libGL.so.1 but a server never opens a window. Debian's libglx0 wants Mesa behind it, with LLVM:
# 150 MB. An empty package takes Mesa's place, so apt's book-keeping stays whole.
set -eu
package=$(mktemp -d)
mkdir "$package/DEBIAN"
cat > "$package/DEBIAN/control" << 'CONTROL'
Package: paddock-no-glx
Version: 1
Architecture: all
Maintainer: paddock
Provides: libglx-mesa0
Description: stands where Mesa's GLX driver would be, for servers without a display
CONTROL
chmod 0755 "$package"
dpkg-deb --build --root-owner-group "$package" "$package.deb"
dpkg --install "$package.deb"
rm -r "$package" "$package.deb"
