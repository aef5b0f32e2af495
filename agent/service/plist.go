package service

// macLogs is the folder of the service's log on macOS.
func (s Service) macLogs() string { return "/Library/Logs/" + s.Name }

// label is the service's name among all of launchd.
func (s Service) label() string { return "org.idlegrid." + s.Name }

// macUser is the name of the user on macOS, where those of services begin with an underscore.
func (s Service) macUser() string { return "_" + s.User }

// plist returns the launchd property list of a service.
func (s Service) plist() (string, error) {
	return render("plist", map[string]any{
		"Label": s.label(), "Command": s.command("run"), "User": s.macUser(), "State": s.State, "Log": s.macLogs() + "/" + s.Name + ".log",
		"Restart": int(restartAfter.Seconds()), "Stop": int(stopWithin.Seconds()),
	})
}
