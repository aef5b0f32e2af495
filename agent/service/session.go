package service

import "strings"

// helperWhat says what the helper does, for people.
const helperWhat = "Tells the grid's agent when this desktop is in use"

// helperName is the name of the helper, where the system has one for it.
func (s Service) helperName() string { return s.Name + "-session" }

// helperCommand is the command line that each desktop's session runs.
func (s Service) helperCommand() []string {
	return []string{s.Program, s.Helper, "--state", s.State}
}

// helperFile returns what tells a system to start the helper with each session: "service" is a unit of users' own systemd,
// "desktop" an entry for desktops without, and "plist" one of launchd. The first two take the paths that unit takes.
func (s Service) helperFile(kind string) (string, error) {
	return render("session."+kind, map[string]any{
		"What": helperWhat, "Name": s.helperName(), "Label": s.label() + "-session",
		"Arguments": s.helperCommand(), "Command": strings.Join(s.helperCommand(), " "),
	})
}
