package guestfs

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"idlegrid/jobs/record"

	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// Quota bounds a file system in memory.
type Quota struct {
	Bytes int64 // of all files together
	Files int64 // directories too
}

// Out is /out of one running guest, or another file system in memory that it may write.
type Out struct {
	experimentalsys.UnimplementedFS

	session *Session
	chunks  *Chunks
	quota   Quota
	name    string

	root    *outNode
	bytes   int64
	files   int64
	ino     uint64 // the highest that was given
	writing int    // files that are open for writing
	edits   uint64 // grows with each change
	opened  bool   // the root, by wazero
}

// outNode is a file or directory. A file that is deleted while open lives until it is closed, and counts
// against the quota until then.
type outNode struct {
	ino      uint64
	children map[string]*outNode // nil: a file
	content  content
	links    int // 1, or 0 once deleted
	open     int
}

// NewOut returns an empty /out.
func NewOut(q Quota, s *Session, c *Chunks) *Out { return newFS(q, s, c, "/out", 1) }

// NewCheckpoint returns an empty /checkpoint.
func NewCheckpoint(q Quota, s *Session, c *Chunks) *Out {
	const root = 1 << 40 // beyond the inodes of /out: both say that they are one device
	return newFS(q, s, c, "/checkpoint", root)
}

func newFS(q Quota, s *Session, c *Chunks, name string, root uint64) *Out {
	o := &Out{session: s, chunks: c, quota: q, name: name, ino: root}
	o.root = &outNode{ino: root, children: make(map[string]*outNode), links: 1}
	return o
}

// Walk calls do with every file in the order of the paths, in pieces; an empty file has one empty piece.
func (o *Out) Walk(do func(path string, piece []byte) error) error { return o.root.walk("", do) }

func (n *outNode) walk(prefix string, do func(string, []byte) error) error {
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		child, path := n.children[name], prefix+name
		var err error
		switch {
		case child.children != nil:
			err = child.walk(path+"/", do)
		case child.content.size == 0:
			err = do(path, nil)
		default:
			err = child.content.pieces(func(piece []byte) error { return do(path, piece) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Free gives the memory of all files back. The guest has ended.
func (o *Out) Free() { o.root.free(o.chunks) }

func (n *outNode) free(c *Chunks) {
	n.content.resize(0, c)
	for _, child := range n.children {
		child.free(c)
	}
}

func (n *outNode) stat() sys.Stat_t {
	if n.children != nil {
		return stat(outDev, n.ino, outDirMode, 0)
	}
	return stat(outDev, n.ino, outFileMode, n.content.size)
}

func (n *outNode) list() []experimentalsys.Dirent {
	entries := make([]experimentalsys.Dirent, 0, len(n.children))
	for name, child := range n.children {
		entries = append(entries, experimentalsys.Dirent{Ino: child.ino, Name: name, Type: child.stat().Mode.Type()})
	}
	slices.SortFunc(entries, func(a, b experimentalsys.Dirent) int { return cmp.Compare(a.Name, b.Name) })
	return entries
}

// place is where a path leads: a name in a directory, and what is there, if anything.
type place struct {
	dir     *outNode // nil: the path is the root
	name    string
	node    *outNode // nil: nothing
	wantDir bool     // the path ends in a slash
}

func (o *Out) find(name string) (place, experimentalsys.Errno) {
	o.session.tick()
	parts, wantDir := split(name)
	p := place{node: o.root, wantDir: wantDir}
	for _, part := range parts {
		switch {
		case p.node == nil:
			return place{}, experimentalsys.ENOENT
		case p.node.children == nil:
			return place{}, experimentalsys.ENOTDIR
		}
		p = place{dir: p.node, name: part, node: p.node.children[part], wantDir: wantDir}
	}
	if wantDir && p.node != nil && p.node.children == nil {
		return place{}, experimentalsys.ENOTDIR
	}
	return p, 0
}

// existing is find for what must be there.
func (o *Out) existing(name string) (place, experimentalsys.Errno) {
	p, errno := o.find(name)
	if errno == 0 && p.node == nil {
		errno = experimentalsys.ENOENT
	}
	return p, errno
}

// add puts a new file or directory at a place where there is nothing.
func (o *Out) add(p place, path string, children map[string]*outNode) (*outNode, experimentalsys.Errno) {
	if errno := checkName(clean(path)); errno != 0 {
		return nil, errno
	}
	if o.files >= o.quota.Files {
		return nil, o.session.refuse(fmt.Sprintf("%s holds %d files and folders", o.name, o.quota.Files))
	}
	o.files++
	o.ino++
	o.edits++
	node := &outNode{ino: o.ino, children: children, links: 1}
	p.dir.children[p.name] = node
	return node, 0
}

// checkName returns why an outcome cannot hold a file of that path.
func checkName(path string) experimentalsys.Errno {
	switch {
	case len(path) > record.MaxPath:
		return experimentalsys.ENAMETOOLONG
	case record.CheckPath(path) != nil:
		return experimentalsys.EINVAL
	}
	return 0
}

// remove takes what is at a place out of its directory.
func (o *Out) remove(p place) {
	o.edits++
	delete(p.dir.children, p.name)
	p.node.links = 0
	o.drop(p.node)
}

// drop frees a node that nothing refers to any more.
func (o *Out) drop(n *outNode) {
	if n.links > 0 || n.open > 0 {
		return
	}
	o.bytes -= n.content.size
	o.files--
	n.content.resize(0, o.chunks)
}

// resize sets the size of a file within the quota.
func (o *Out) resize(n *outNode, size int64) experimentalsys.Errno {
	if size < 0 || size > o.quota.Bytes || size-n.content.size > o.quota.Bytes-o.bytes {
		return o.session.refuse(fmt.Sprintf("%s is full: %d bytes", o.name, o.quota.Bytes))
	}
	o.edits++
	o.bytes += size - n.content.size
	n.content.resize(size, o.chunks)
	return 0
}

// OpenFile opens a file or directory, and creates the file if asked to.
func (o *Out) OpenFile(name string, flag experimentalsys.Oflag, _ fs.FileMode) (experimentalsys.File, experimentalsys.Errno) {
	p, errno := o.find(name)
	if errno != 0 {
		return nil, errno
	}
	if errno := checkOpen(p, flag); errno != 0 {
		return nil, errno
	}
	node := p.node
	if node == o.root && !o.opened {
		o.opened = true
		return &dirFile{session: o.session, root: true, stat: node.stat(), list: node.list}, 0
	}
	if errno := o.session.acquire(); errno != 0 {
		return nil, errno
	}
	if node == nil {
		if node, errno = o.add(p, name, nil); errno != 0 {
			o.session.release()
			return nil, errno
		}
	}
	if node.children != nil {
		return &dirFile{session: o.session, stat: node.stat(), list: node.list}, 0
	}
	if flag&experimentalsys.O_TRUNC != 0 && writable(flag) {
		o.edits++
		o.bytes -= node.content.size
		node.content.resize(0, o.chunks)
	}
	node.open++
	if writable(flag) {
		o.writing++
	}
	return &outFile{out: o, node: node, flag: flag}, 0
}

// checkOpen returns why what is at a place cannot be opened in that way.
func checkOpen(p place, flag experimentalsys.Oflag) experimentalsys.Errno {
	create := flag&experimentalsys.O_CREAT != 0
	switch {
	case p.node == nil && !create:
		return experimentalsys.ENOENT
	case p.node == nil && p.wantDir:
		return experimentalsys.EISDIR
	case p.node == nil:
		return 0
	case create && flag&experimentalsys.O_EXCL != 0:
		return experimentalsys.EEXIST
	case p.node.children == nil && flag&experimentalsys.O_DIRECTORY != 0:
		return experimentalsys.ENOTDIR
	case p.node.children != nil && flag&experimentalsys.O_DIRECTORY == 0 && (writable(flag) || create):
		return experimentalsys.EISDIR
	}
	return 0
}

// Stat returns the status of a file or directory.
func (o *Out) Stat(name string) (sys.Stat_t, experimentalsys.Errno) {
	p, errno := o.existing(name)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	return p.node.stat(), 0
}

// Lstat is Stat: there are no links.
func (o *Out) Lstat(name string) (sys.Stat_t, experimentalsys.Errno) { return o.Stat(name) }

// Mkdir makes a directory.
func (o *Out) Mkdir(name string, _ fs.FileMode) experimentalsys.Errno {
	p, errno := o.find(name)
	if errno != 0 {
		return errno
	}
	if p.node != nil {
		return experimentalsys.EEXIST
	}
	_, errno = o.add(p, name, make(map[string]*outNode))
	return errno
}

// Chmod does nothing: modes are fixed.
func (o *Out) Chmod(name string, _ fs.FileMode) experimentalsys.Errno {
	_, errno := o.existing(name)
	return errno
}

// Utimens does nothing: times are fixed.
func (o *Out) Utimens(name string, _, _ int64) experimentalsys.Errno {
	_, errno := o.existing(name)
	return errno
}

// Unlink deletes a file.
func (o *Out) Unlink(name string) experimentalsys.Errno {
	p, errno := o.existing(name)
	if errno != 0 {
		return errno
	}
	if p.node.children != nil {
		return experimentalsys.EISDIR
	}
	o.remove(p)
	return 0
}

// Rmdir deletes an empty directory.
func (o *Out) Rmdir(name string) experimentalsys.Errno {
	p, errno := o.existing(name)
	switch {
	case errno != 0:
		return errno
	case p.node.children == nil:
		return experimentalsys.ENOTDIR
	case p.dir == nil:
		return experimentalsys.EPERM
	case len(p.node.children) > 0:
		return experimentalsys.ENOTEMPTY
	}
	o.remove(p)
	return 0
}
