package host

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// Reserve returns size bytes of address space that must not be touched before they are committed. They cost
// nothing, and are no part of Go's heap.
func Reserve(size int) ([]byte, error) {
	addr, err := windows.VirtualAlloc(0, uintptr(size), windows.MEM_RESERVE, windows.PAGE_NOACCESS)
	if err != nil {
		return nil, err
	}
	// The address is not Go's, so that no garbage collection moves or frees it; the detour by a pointer to
	// the number says so to vet.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), size), nil
}

// Commit makes reserved bytes usable; they are zero. The slice starts and ends on multiples of 64 KiB.
func Commit(b []byte) error {
	addr := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	_, err := windows.VirtualAlloc(addr, uintptr(len(b)), windows.MEM_COMMIT, windows.PAGE_READWRITE)
	return err
}

// Release gives back what Reserve returned.
func Release(b []byte) error {
	return windows.VirtualFree(uintptr(unsafe.Pointer(unsafe.SliceData(b))), 0, windows.MEM_RELEASE)
}
