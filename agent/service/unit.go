package service

import (
	"path"
	"regexp"
	"strings"

	"idlegrid/jobs"
)

// sliceName is the slice of services that work.
const sliceName = "idlegrid.slice"

// varLib is where systemd makes state folders by itself, with the right owner.
const varLib = "/var/lib/"

// plainPath is a path that needs no quotes anywhere in a unit: some of its keys know none.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._+@-]+)+$`)

// unit returns the systemd unit of a service.
func (s Service) unit() (string, error) {
	for _, p := range []string{s.Program, s.State} {
		if !plainPath.MatchString(p) || path.Clean(p) != p {
			return "", jobs.Errorf(jobs.Invalid, "%q: a systemd unit takes absolute paths of letters, digits and ._+@- only", p)
		}
	}
	var command []string
	for _, arg := range s.command("run") {
		command = append(command, quoteUnit(arg))
	}
	managed := ""
	if under, ok := strings.CutPrefix(s.State, varLib); ok {
		managed = under
	}
	return render("unit", map[string]any{
		"Service": s, "Command": strings.Join(command, " "), "StateDirectory": managed, "Runtime": runtimeFolder,
		"Slice": sliceName, "Restart": int(restartAfter.Seconds()), "Stop": int(stopWithin.Seconds()),
	})
}

// quoteUnit writes an argument so that systemd reads it as it is: quoted where it would be cut, with specifiers and
// variables escaped.
func quoteUnit(arg string) string {
	arg = strings.NewReplacer("%", "%%", "$", "$$", `\`, `\\`, `"`, `\"`).Replace(arg)
	if arg == "" || strings.ContainsAny(arg, ` "'\;`) {
		return `"` + arg + `"`
	}
	return arg
}
