package service

import "fmt"

// Event is something that happens to the machine.
type Event uint8

// What happens.
const (
	Suspend       Event = iota + 1 // the machine is about to sleep
	Resume                         // it woke up, or does not sleep after all
	Shutdown                       // it is about to be switched off or restarted
	SessionChange                  // somebody logged on or off, locked or unlocked: look who is here; Windows only
)

// String returns the event's name.
func (e Event) String() string {
	names := [...]string{"unknown", "suspend", "resume", "shutdown", "session change"}
	if int(e) >= len(names) {
		return fmt.Sprintf("event %d", uint8(e))
	}
	return names[e]
}

// Handler takes an event. logind waits with sleep and shutdown until it returns, five seconds at most as systems come.
// Windows goes to sleep without waiting, and waits with a shutdown until the service stopped. It is never called twice
// at once.
type Handler func(Event)
