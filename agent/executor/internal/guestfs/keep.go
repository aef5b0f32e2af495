package guestfs

import (
	"cmp"
	"fmt"
	"path"
	"slices"
)

// Node is a file or directory of an Out, as a checkpoint keeps it.
type Node struct {
	Path string
	Ino  uint64
	Dir  bool
	Size int64

	node *outNode
}

// ReadAt copies what the file holds at off.
func (n Node) ReadAt(buf []byte, off int64) int { return n.node.content.readAt(buf, off) }

// Writing reports whether a file is open for writing.
func (o *Out) Writing() bool { return o.writing > 0 }

// Edits returns how often anything was changed.
func (o *Out) Edits() uint64 { return o.edits }

// LastIno returns the highest inode number that was given.
func (o *Out) LastIno() uint64 { return o.ino }

// Nodes returns all files and directories but the root, in the order of their inode numbers. None may be
// deleted and open.
func (o *Out) Nodes() []Node {
	var nodes []Node
	o.root.nodes("", &nodes)
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.Ino, b.Ino) })
	return nodes
}

func (n *outNode) nodes(prefix string, to *[]Node) {
	for name, child := range n.children {
		*to = append(*to, Node{Path: prefix + name, Ino: child.ino, Dir: child.children != nil, Size: child.content.size, node: child})
		child.nodes(prefix+name+"/", to)
	}
}

// Restore fills an empty Out with the nodes of another, whose files have their sizes and hold zeros; Write fills
// them. lastIno is what LastIno returned there.
func (o *Out) Restore(nodes []Node, lastIno uint64) error {
	nodes = slices.SortedFunc(slices.Values(nodes), func(a, b Node) int { return cmp.Compare(a.Path, b.Path) }) // parents first
	for _, n := range nodes {
		if n.Ino <= o.root.ino || n.Ino > lastIno {
			return fmt.Errorf("%s/%s: inode %d of %d to %d", o.name, n.Path, n.Ino, o.root.ino+1, lastIno)
		}
		p, errno := o.find(n.Path)
		if errno != 0 || p.dir == nil || p.node != nil || p.wantDir || path.Clean(n.Path) != n.Path {
			return fmt.Errorf("%s/%s: no place for it", o.name, n.Path)
		}
		var children map[string]*outNode
		if n.Dir {
			children = make(map[string]*outNode)
		}
		node, errno := o.add(p, n.Path, children)
		if errno == 0 && !n.Dir {
			errno = o.resize(node, n.Size)
		}
		if errno != 0 {
			return fmt.Errorf("%s/%s: %w", o.name, n.Path, errno)
		}
		node.ino = n.Ino
	}
	if lastIno < o.root.ino {
		return fmt.Errorf("%s: inode %d is lower than that of the folder", o.name, lastIno)
	}
	o.ino = lastIno
	return nil
}

// Write writes to a file of the given node within its size.
func (o *Out) Write(n Node, buf []byte, off int64) { n.node.content.writeAt(buf, off, o.chunks) }

// Log is bytes that are only added to.
type Log struct {
	content content
	chunks  *Chunks
}

// NewLog returns an empty Log, whose memory comes from c.
func NewLog(c *Chunks) *Log { return &Log{chunks: c} }

// Append adds p.
func (l *Log) Append(p []byte) { l.content.writeAt(p, l.content.size, l.chunks) }

// Size returns how many bytes it holds.
func (l *Log) Size() int64 { return l.content.size }

// Restore makes an empty Log hold so many zeros; Write fills them.
func (l *Log) Restore(size int64) { l.content.resize(size, l.chunks) }

// Write writes at off within the size.
func (l *Log) Write(p []byte, off int64) { l.content.writeAt(p, off, l.chunks) }

// ReadAt copies what it holds at off.
func (l *Log) ReadAt(buf []byte, off int64) int { return l.content.readAt(buf, off) }

// Free gives the memory back.
func (l *Log) Free() { l.content.resize(0, l.chunks) }
