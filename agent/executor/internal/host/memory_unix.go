//go:build unix

package host

import "golang.org/x/sys/unix"

// Reserve returns size bytes of address space that must not be touched before they are committed. They cost
// nothing, and are no part of Go's heap.
func Reserve(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
}

// Commit makes reserved bytes usable; they are zero. The slice starts and ends on multiples of 64 KiB.
func Commit(b []byte) error { return unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE) }

// Release gives back what Reserve returned.
func Release(b []byte) error { return unix.Munmap(b) }
