// Package guestfs is the file systems that a guest sees: /in, read-only, over verified files of the host, and
// /out and /checkpoint, in memory, with quotas.
//
// It promises that no path of a guest names anything but the files given to it, that what a guest can make
// the host hold is bounded, and that nothing depends on the host: times are fixed, inodes are counted, lists
// are sorted. There are no symbolic or hard links. It is for one guest at a time and not safe for
// concurrent use.
package guestfs

import (
	"io/fs"
	"path"
	"strings"

	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// Epoch is the one time of every file, in nanoseconds since 1970: when the guest's clock starts.
const Epoch = 1640995200_000000000

// maxOpen bounds the files that a guest holds open at once, in all file systems together.
const maxOpen = 1000

// errFull is what a guest gets at a quota. The closest to "no space left on device" that wazero can tell is
// an I/O error.
const errFull = experimentalsys.EIO

// Session is what the file systems of one running guest share. Tick, which may be nil, is called on every
// operation before anything changes, and after a close or rename: the guest is in no native code then, and the
// file systems are as it left them.
type Session struct {
	Tick func()
	// Refusal is the first thing that a guest was refused for a limit of ours, for the text of its failure.
	Refusal string

	open      int
	preClosed bool
}

func (s *Session) tick() {
	if s.Tick != nil {
		s.Tick()
	}
}

// refuse notes the limit and returns what the guest gets.
func (s *Session) refuse(limit string) experimentalsys.Errno {
	if s.Refusal == "" {
		s.Refusal = limit
	}
	return errFull
}

func (s *Session) acquire() experimentalsys.Errno {
	if s.open >= maxOpen {
		return s.refuse("1,000 files are open")
	}
	s.open++
	return 0
}

func (s *Session) release() { s.open-- }

// Open returns how many files and directories are open beside the roots, which wazero opens itself when they are
// used first. A root that the guest has closed counts, too: another instance would find it open.
func (s *Session) Open() int {
	if s.preClosed {
		return s.open + 1
	}
	return s.open
}

// split returns the parts of a guest's path. wazero has cleaned it, so that there is no ".." left, but may
// have joined it to the name of an open directory and kept a slash at the end, which asks for a directory.
func split(name string) (parts []string, wantDir bool) {
	wantDir = strings.HasSuffix(name, "/")
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return nil, true
	}
	return strings.Split(name, "/"), wantDir
}

// stat returns the status of a file or directory.
func stat(dev, ino uint64, mode fs.FileMode, size int64) sys.Stat_t {
	return sys.Stat_t{Dev: dev, Ino: ino, Mode: mode, Nlink: 1, Size: size, Atim: Epoch, Mtim: Epoch, Ctim: Epoch}
}

// dirFile is an open directory of either file system. It lists the entries as they were when it was opened
// or last rewound.
type dirFile struct {
	experimentalsys.DirFile

	session *Session
	root    bool // the one that wazero opened
	stat    sys.Stat_t
	list    func() []experimentalsys.Dirent
	entries []experimentalsys.Dirent
	pos     int
	closed  bool
}

// Dev returns the number of the file system.
func (d *dirFile) Dev() (uint64, experimentalsys.Errno) { return d.stat.Dev, 0 }

// Ino returns the directory's number.
func (d *dirFile) Ino() (sys.Inode, experimentalsys.Errno) { return d.stat.Ino, 0 }

// Stat returns the directory's status.
func (d *dirFile) Stat() (sys.Stat_t, experimentalsys.Errno) {
	d.session.tick()
	return d.stat, 0
}

// Seek rewinds the directory; it can do nothing else.
func (d *dirFile) Seek(offset position, whence int) (int64, experimentalsys.Errno) {
	if offset != 0 || whence != 0 {
		return 0, experimentalsys.EINVAL
	}
	d.pos, d.entries = 0, nil
	return 0, 0
}

// Readdir returns up to n further entries, or all with a negative n.
func (d *dirFile) Readdir(n int) ([]experimentalsys.Dirent, experimentalsys.Errno) {
	d.session.tick()
	if d.entries == nil {
		d.entries = d.list()
	}
	end := len(d.entries)
	if n >= 0 && n < end-d.pos {
		end = d.pos + n
	}
	page := d.entries[d.pos:end:end]
	d.pos = end
	return page, 0
}

// Sync does nothing.
func (d *dirFile) Sync() experimentalsys.Errno { return 0 }

// Datasync does nothing.
func (d *dirFile) Datasync() experimentalsys.Errno { return 0 }

// Utimens does nothing: times are fixed.
func (d *dirFile) Utimens(int64, int64) experimentalsys.Errno { return 0 }

// Close ends the use of the directory.
func (d *dirFile) Close() experimentalsys.Errno {
	if !d.closed {
		d.closed = true
		if d.root {
			d.session.preClosed = true
			return 0
		}
		d.session.release()
	}
	return 0
}

// position is an int64. Under this name vet does not take wazero's Seek, which returns its own kind of error,
// for a misspelt io.Seeker.
type position = int64

// seek returns the position that a guest asks for in a file of the given size.
func seek(pos, size, offset int64, whence int) (int64, experimentalsys.Errno) {
	switch whence {
	case 0:
	case 1:
		offset += pos
	case 2:
		offset += size
	default:
		return 0, experimentalsys.EINVAL
	}
	if offset < 0 {
		return 0, experimentalsys.EINVAL
	}
	return offset, 0
}

// Bits of an open flag.
const accessBits = experimentalsys.O_RDWR | experimentalsys.O_WRONLY

func readable(flag experimentalsys.Oflag) bool { return flag&accessBits != experimentalsys.O_WRONLY }

func writable(flag experimentalsys.Oflag) bool { return flag&accessBits != 0 }
