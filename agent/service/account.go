package service

import (
	"crypto/sha1" //nolint:gosec // how Windows names services' accounts; nothing is protected by it
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// virtualAccount is the account that Windows has for each service, without a password.
func (s Service) virtualAccount() string { return `NT SERVICE\` + s.Name }

// sid is the security identifier of the service's account: S-1-5-80 and the SHA-1 of its name in capitals.
func (s Service) sid() string {
	var name []byte
	for _, unit := range utf16.Encode([]rune(strings.ToUpper(s.Name))) {
		name = binary.LittleEndian.AppendUint16(name, unit)
	}
	sum := sha1.Sum(name) //nolint:gosec // as above
	sid := "S-1-5-80"
	for i := 0; i < len(sum); i += 4 {
		sid += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(sum[i:]))
	}
	return sid
}

// access is who may look into the state folder, in Windows' notation: the system, administrators and the service, in
// everything below too, and nobody who has rights above it.
func (s Service) access() string {
	return "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;" + s.sid() + ")"
}

// settings is for people what Windows is told.
func (s Service) settings() string {
	text := fmt.Sprintf(`service      %s (%s)
description  %s
command      %q
account      %s
starts       with the system, after the others
when it ends by an error  restart after %s
before a shutdown         wait for it, %s at most
state        %s, access %s
`, s.Name, s.Display, s.Description, s.command(ServeVerb), s.virtualAccount(), restartAfter, stopWithin, s.State, s.access())
	if s.Helper != "" {
		text += fmt.Sprintf("in each session           %q\n", s.helperCommand())
	}
	return text
}
