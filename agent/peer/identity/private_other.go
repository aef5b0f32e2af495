//go:build !unix

package identity

import "io/fs"

// checkPrivate checks nothing where files have no permission bits: on Windows the access list of the state
// folder protects the keys, and who installs the service sets it.
func checkPrivate(fs.FileInfo, string, string) error { return nil }
