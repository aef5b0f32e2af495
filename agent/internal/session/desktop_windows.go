package session

import (
	"context"
	"fmt"
	"log/slog"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

const (
	// currentSession and sessionInfo are WTS_CURRENT_SESSION and WTSSessionInfoEx.
	currentSession = 0xffffffff
	sessionInfo    = 25

	// flagsAt is where SessionFlags stands in WTSINFOEXW: behind the level, padding, the session's number and its
	// state. Since Windows 8, 0 is locked and 1 is not.
	flagsAt  = 16
	locked   = 0
	unlocked = 1
)

// What SHQueryUserNotificationState says of a screen that is not to be disturbed.
const (
	stateBusy = iota + 2
	stateFullScreen
	statePresentation
)

// None of these is in x/sys.
var (
	lastInput    = windows.NewLazySystemDLL("user32.dll").NewProc("GetLastInputInfo")
	tickCount    = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetTickCount")
	querySession = windows.NewLazySystemDLL("wtsapi32.dll").NewProc("WTSQuerySessionInformationW")
	freeConsole  = windows.NewLazySystemDLL("kernel32.dll").NewProc("FreeConsole")
	notification = windows.NewLazySystemDLL("shell32.dll").NewProc("SHQueryUserNotificationState")
)

// windowsDesktop is asked; Windows ends the helper with the session.
type windowsDesktop struct{}

func openDesktop(context.Context, *slog.Logger) (desktop, error) {
	// A program with a console gets a window of its own when a session starts it, which goes with the console. One without
	// has none to leave, which is the only error.
	_, _, _ = freeConsole.Call()
	return windowsDesktop{}, nil
}

func (windowsDesktop) look(context.Context) (state, error) {
	info := struct{ size, tick uint32 }{size: 8}
	if ok, _, err := lastInput.Call(uintptr(unsafe.Pointer(&info))); ok == 0 {
		return state{}, fmt.Errorf("GetLastInputInfo: %w", err)
	}
	ticks, _, _ := tickCount.Call() // it cannot fail
	// Both count milliseconds and start anew after 49 days, which the subtraction allows for.
	s := state{input: ago(time.Duration(uint32(ticks)-info.tick) * time.Millisecond), locked: lockState()}
	var shown uint32
	if failed, _, _ := notification.Call(uintptr(unsafe.Pointer(&shown))); failed == 0 {
		presenting := shown == stateBusy || shown == stateFullScreen || shown == statePresentation
		s.presenting = &presenting
	}
	return s, nil
}

// lockState returns nil where Windows does not say.
func lockState() *bool {
	var buffer *byte
	var size uint32
	ok, _, _ := querySession.Call(0, currentSession, sessionInfo, uintptr(unsafe.Pointer(&buffer)), uintptr(unsafe.Pointer(&size)))
	if ok == 0 {
		return nil
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(buffer)))
	if size < flagsAt+4 {
		return nil
	}
	flags := *(*int32)(unsafe.Add(unsafe.Pointer(buffer), flagsAt))
	if flags != locked && flags != unlocked {
		return nil
	}
	is := flags == locked
	return &is
}

func (windowsDesktop) input() <-chan struct{} { return nil }

func (windowsDesktop) close() error { return nil }
