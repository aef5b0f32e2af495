package guestfs

import (
	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// outFile is an open file of /out.
type outFile struct {
	experimentalsys.UnimplementedFile

	out    *Out
	node   *outNode
	flag   experimentalsys.Oflag
	pos    int64
	closed bool
}

// Dev returns the number of the file system.
func (f *outFile) Dev() (uint64, experimentalsys.Errno) { return outDev, 0 }

// Ino returns the file's number.
func (f *outFile) Ino() (sys.Inode, experimentalsys.Errno) { return f.node.ino, 0 }

// IsDir returns false.
func (f *outFile) IsDir() (bool, experimentalsys.Errno) { return false, 0 }

// IsAppend reports whether every write goes to the end.
func (f *outFile) IsAppend() bool { return f.flag&experimentalsys.O_APPEND != 0 }

// SetAppend says whether every write goes to the end.
func (f *outFile) SetAppend(enable bool) experimentalsys.Errno {
	f.flag &^= experimentalsys.O_APPEND
	if enable {
		f.flag |= experimentalsys.O_APPEND
	}
	return 0
}

// Stat returns the file's status.
func (f *outFile) Stat() (sys.Stat_t, experimentalsys.Errno) {
	f.out.session.tick()
	return f.node.stat(), 0
}

// Read reads at the position and moves it.
func (f *outFile) Read(buf []byte) (int, experimentalsys.Errno) {
	n, errno := f.Pread(buf, f.pos)
	f.pos += int64(n)
	return n, errno
}

// Pread reads at off.
func (f *outFile) Pread(buf []byte, off int64) (int, experimentalsys.Errno) {
	f.out.session.tick()
	switch {
	case f.closed || !readable(f.flag):
		return 0, experimentalsys.EBADF
	case off < 0:
		return 0, experimentalsys.EINVAL
	}
	return f.node.content.readAt(buf, off), 0
}

// Seek moves the position.
func (f *outFile) Seek(offset position, whence int) (int64, experimentalsys.Errno) {
	f.out.session.tick()
	pos, errno := seek(f.pos, f.node.content.size, offset, whence)
	if errno != 0 {
		return 0, errno
	}
	f.pos = pos
	return pos, 0
}

// Write writes at the position, or at the end, and moves the position. It writes all or nothing: wazero
// would not notice less.
func (f *outFile) Write(buf []byte) (int, experimentalsys.Errno) {
	if f.IsAppend() {
		f.pos = f.node.content.size
	}
	n, errno := f.Pwrite(buf, f.pos)
	f.pos += int64(n)
	return n, errno
}

// Pwrite writes at off, all or nothing.
func (f *outFile) Pwrite(buf []byte, off int64) (int, experimentalsys.Errno) {
	f.out.session.tick()
	switch {
	case f.closed || !writable(f.flag):
		return 0, experimentalsys.EBADF
	case off < 0:
		return 0, experimentalsys.EINVAL
	case len(buf) == 0:
		return 0, 0
	}
	if end := off + int64(len(buf)); end > f.node.content.size || end < 0 {
		if errno := f.out.resize(f.node, end); errno != 0 {
			return 0, errno
		}
	}
	f.out.edits++
	f.node.content.writeAt(buf, off, f.out.chunks)
	return len(buf), 0
}

// Truncate cuts the file or adds zeros.
func (f *outFile) Truncate(size int64) experimentalsys.Errno {
	f.out.session.tick()
	switch {
	case f.closed || !writable(f.flag):
		return experimentalsys.EBADF
	case size < 0:
		return experimentalsys.EINVAL
	}
	return f.out.resize(f.node, size)
}

// Sync does nothing.
func (f *outFile) Sync() experimentalsys.Errno { return 0 }

// Datasync does nothing.
func (f *outFile) Datasync() experimentalsys.Errno { return 0 }

// Utimens does nothing: times are fixed.
func (f *outFile) Utimens(int64, int64) experimentalsys.Errno { return 0 }

// Close ends the use of the file.
func (f *outFile) Close() experimentalsys.Errno {
	if !f.closed {
		f.closed = true
		f.node.open--
		if writable(f.flag) {
			f.out.writing--
		}
		f.out.session.release()
		f.out.drop(f.node)
		f.out.session.tick()
	}
	return 0
}
