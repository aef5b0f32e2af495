package guestfs

import (
	"strings"

	"idlegrid/jobs/record"

	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
)

// Rename moves a file or directory. It replaces a file by a file, and an empty directory by a directory.
func (o *Out) Rename(from, to string) experimentalsys.Errno {
	src, errno := o.existing(from)
	if errno != 0 {
		return errno
	}
	dst, errno := o.find(to)
	if errno != 0 {
		return errno
	}
	if src.dir == nil || dst.dir == nil {
		return experimentalsys.EPERM
	}
	if src.node == dst.node {
		return 0
	}
	if errno := checkMove(src, dst, from, to); errno != 0 {
		return errno
	}
	if dst.node != nil {
		o.remove(dst)
	}
	o.edits++
	delete(src.dir.children, src.name)
	dst.dir.children[dst.name] = src.node
	o.session.tick()
	return 0
}

// checkMove returns why src cannot take the place of dst. All files keep paths that an outcome may hold.
func checkMove(src, dst place, from, to string) experimentalsys.Errno {
	oldPath, newPath := clean(from), clean(to)
	isDir := src.node.children != nil
	switch {
	case isDir && strings.HasPrefix(newPath+"/", oldPath+"/"):
		return experimentalsys.EINVAL // into itself
	case !isDir && dst.wantDir:
		return experimentalsys.ENOTDIR
	case dst.node != nil && isDir && dst.node.children == nil:
		return experimentalsys.ENOTDIR
	case dst.node != nil && !isDir && dst.node.children != nil:
		return experimentalsys.EISDIR
	case dst.node != nil && len(dst.node.children) > 0:
		return experimentalsys.ENOTEMPTY
	case len(newPath)+src.node.depth() > record.MaxPath:
		return experimentalsys.ENAMETOOLONG
	}
	return checkName(newPath)
}

// depth returns how many bytes the longest path below a directory adds to its own.
func (n *outNode) depth() int {
	longest := 0
	for name, child := range n.children {
		longest = max(longest, 1+len(name)+child.depth())
	}
	return longest
}

// clean returns a guest's path as an outcome holds it.
func clean(name string) string {
	parts, _ := split(name)
	return strings.Join(parts, "/")
}
