package guestfs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

const (
	inDev       = 1
	inFileMode  = 0o444
	inDirMode   = fs.ModeDir | 0o555
	outDev      = 2
	outFileMode = 0o644
	outDirMode  = fs.ModeDir | 0o755
)

// Input is a file that a guest sees in /in.
type Input struct {
	Path   string // as the guest sees it, relative to /in
	Source string // where the bytes lie on the host
	Size   int64
}

// Tree is the content of /in. It does not change.
type Tree struct{ root *inNode }

type inNode struct {
	stat     sys.Stat_t
	source   string
	children map[string]*inNode // nil: a file
	entries  []experimentalsys.Dirent
}

// NewTree returns the tree of the inputs; directories are implied. It returns an error unless each path is
// clean and relative, no path is both file and directory, and each source is there with its size.
func NewTree(inputs []Input) (*Tree, error) {
	t := &Tree{root: newInDir(1)}
	next := uint64(2)
	for _, in := range inputs {
		if err := checkSource(in); err != nil {
			return nil, err
		}
		if err := t.add(in, &next); err != nil {
			return nil, err
		}
	}
	t.root.seal()
	return t, nil
}

func checkSource(in Input) error {
	info, err := os.Stat(in.Source)
	if err != nil {
		return fmt.Errorf("input %s: %w", in.Path, err)
	}
	if !info.Mode().IsRegular() || info.Size() != in.Size {
		return fmt.Errorf("input %s: %d bytes, expected %d", in.Path, info.Size(), in.Size)
	}
	return nil
}

func newInDir(ino uint64) *inNode {
	return &inNode{stat: stat(inDev, ino, inDirMode, 0), children: make(map[string]*inNode)}
}

func (t *Tree) add(in Input, next *uint64) error {
	if !fs.ValidPath(in.Path) || in.Path == "." {
		return fmt.Errorf("input %q: expected a clean relative path", in.Path)
	}
	parts, _ := split(in.Path)
	dir := t.root
	for _, name := range parts[:len(parts)-1] {
		child := dir.children[name]
		if child == nil {
			child = newInDir(*next)
			*next++
			dir.children[name] = child
		}
		if child.children == nil {
			return fmt.Errorf("input %s: a part of its path is a file", in.Path)
		}
		dir = child
	}
	name := parts[len(parts)-1]
	if dir.children[name] != nil {
		return fmt.Errorf("input %s: the path is there twice", in.Path)
	}
	dir.children[name] = &inNode{stat: stat(inDev, *next, inFileMode, in.Size), source: in.Source}
	*next++
	return nil
}

// seal fixes the lists of the directory and those below.
func (n *inNode) seal() {
	n.entries = make([]experimentalsys.Dirent, 0, len(n.children))
	for name, child := range n.children {
		n.entries = append(n.entries, experimentalsys.Dirent{Ino: child.stat.Ino, Name: name, Type: child.stat.Mode.Type()})
		if child.children != nil {
			child.seal()
		}
	}
	slices.SortFunc(n.entries, func(a, b experimentalsys.Dirent) int { return cmp.Compare(a.Name, b.Name) })
}

// In is /in of one running guest.
type In struct {
	experimentalsys.UnimplementedFS

	tree    *Tree
	session *Session
	opened  bool // the root, by wazero
	// fault is the first input that could not be read: whatever the guest made of it is worth nothing.
	fault error
}

// NewIn returns /in for a guest.
func NewIn(t *Tree, s *Session) *In { return &In{tree: t, session: s} }

// Fault returns the error of the first input that could not be read, or nil.
func (in *In) Fault() error { return in.fault }

func (in *In) fail(err error) experimentalsys.Errno {
	if in.fault == nil {
		in.fault = fmt.Errorf("input: %w", err)
	}
	return experimentalsys.EIO
}

func (in *In) find(name string) (*inNode, experimentalsys.Errno) {
	in.session.tick()
	parts, wantDir := split(name)
	node := in.tree.root
	for _, part := range parts {
		if node.children == nil {
			return nil, experimentalsys.ENOTDIR
		}
		if node = node.children[part]; node == nil {
			return nil, experimentalsys.ENOENT
		}
	}
	if wantDir && node.children == nil {
		return nil, experimentalsys.ENOTDIR
	}
	return node, 0
}

// OpenFile opens a file or directory for reading. The file of the host is opened here and not before, and
// never read as a whole.
func (in *In) OpenFile(name string, flag experimentalsys.Oflag, _ fs.FileMode) (experimentalsys.File, experimentalsys.Errno) {
	node, errno := in.find(name)
	if flag&(experimentalsys.O_CREAT|experimentalsys.O_TRUNC) != 0 || writable(flag) {
		return nil, experimentalsys.EROFS
	}
	if errno != 0 {
		return nil, errno
	}
	if node.children == nil && flag&experimentalsys.O_DIRECTORY != 0 {
		return nil, experimentalsys.ENOTDIR
	}
	list := func() []experimentalsys.Dirent { return node.entries }
	if node == in.tree.root && !in.opened {
		in.opened = true
		return &dirFile{session: in.session, root: true, stat: node.stat, list: list}, 0
	}
	if errno := in.session.acquire(); errno != 0 {
		return nil, errno
	}
	if node.children != nil {
		return &dirFile{session: in.session, stat: node.stat, list: list}, 0
	}
	f, err := openSource(node)
	if err != nil {
		in.session.release()
		return nil, in.fail(err)
	}
	return &inFile{in: in, node: node, f: f}, 0
}

func openSource(n *inNode) (*os.File, error) {
	f, err := os.Open(n.source)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != n.stat.Size {
		err = fmt.Errorf("%s: %d bytes, expected %d", n.source, info.Size(), n.stat.Size)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Stat returns the status of a file or directory.
func (in *In) Stat(name string) (sys.Stat_t, experimentalsys.Errno) {
	node, errno := in.find(name)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	return node.stat, 0
}

// Lstat is Stat: there are no links.
func (in *In) Lstat(name string) (sys.Stat_t, experimentalsys.Errno) { return in.Stat(name) }

// Mkdir is refused.
func (in *In) Mkdir(string, fs.FileMode) experimentalsys.Errno { return experimentalsys.EROFS }

// Chmod is refused.
func (in *In) Chmod(string, fs.FileMode) experimentalsys.Errno { return experimentalsys.EROFS }

// Rename is refused.
func (in *In) Rename(string, string) experimentalsys.Errno { return experimentalsys.EROFS }

// Rmdir is refused.
func (in *In) Rmdir(string) experimentalsys.Errno { return experimentalsys.EROFS }

// Unlink is refused.
func (in *In) Unlink(string) experimentalsys.Errno { return experimentalsys.EROFS }

// Utimens is refused.
func (in *In) Utimens(string, int64, int64) experimentalsys.Errno { return experimentalsys.EROFS }

// inFile is an open file of /in.
type inFile struct {
	experimentalsys.UnimplementedFile

	in   *In
	node *inNode
	f    *os.File // nil: closed
	pos  int64
}

// Dev returns the number of the file system.
func (f *inFile) Dev() (uint64, experimentalsys.Errno) { return f.node.stat.Dev, 0 }

// Ino returns the file's number.
func (f *inFile) Ino() (sys.Inode, experimentalsys.Errno) { return f.node.stat.Ino, 0 }

// IsDir returns false.
func (f *inFile) IsDir() (bool, experimentalsys.Errno) { return false, 0 }

// Stat returns the file's status.
func (f *inFile) Stat() (sys.Stat_t, experimentalsys.Errno) {
	f.in.session.tick()
	return f.node.stat, 0
}

// Read reads at the position and moves it.
func (f *inFile) Read(buf []byte) (int, experimentalsys.Errno) {
	n, errno := f.Pread(buf, f.pos)
	f.pos += int64(n)
	return n, errno
}

// Pread reads at off. A file that is shorter than it was is a fault.
func (f *inFile) Pread(buf []byte, off int64) (int, experimentalsys.Errno) {
	f.in.session.tick()
	if f.f == nil {
		return 0, experimentalsys.EBADF
	}
	if off < 0 {
		return 0, experimentalsys.EINVAL
	}
	rest := f.node.stat.Size - off
	if rest <= 0 {
		return 0, 0
	}
	buf = buf[:min(int64(len(buf)), rest)]
	n, err := f.f.ReadAt(buf, off)
	if n < len(buf) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s: ends at byte %d of %d", f.node.source, off+int64(n), f.node.stat.Size)
		}
		return 0, f.in.fail(err)
	}
	return n, 0
}

// Seek moves the position.
func (f *inFile) Seek(offset position, whence int) (int64, experimentalsys.Errno) {
	f.in.session.tick()
	pos, errno := seek(f.pos, f.node.stat.Size, offset, whence)
	if errno != 0 {
		return 0, errno
	}
	f.pos = pos
	return pos, 0
}

// Write is refused.
func (f *inFile) Write([]byte) (int, experimentalsys.Errno) { return 0, experimentalsys.EBADF }

// Pwrite is refused.
func (f *inFile) Pwrite([]byte, int64) (int, experimentalsys.Errno) {
	return 0, experimentalsys.EBADF
}

// Truncate is refused.
func (f *inFile) Truncate(int64) experimentalsys.Errno { return experimentalsys.EBADF }

// Sync does nothing.
func (f *inFile) Sync() experimentalsys.Errno { return 0 }

// Datasync does nothing.
func (f *inFile) Datasync() experimentalsys.Errno { return 0 }

// Utimens is refused.
func (f *inFile) Utimens(int64, int64) experimentalsys.Errno { return experimentalsys.EROFS }

// Close closes the file of the host.
func (f *inFile) Close() experimentalsys.Errno {
	if f.f == nil {
		return 0
	}
	f.in.session.release()
	err := f.f.Close()
	f.f = nil
	if err != nil {
		return f.in.fail(err)
	}
	return 0
}
