package repository

import "strings"

// A ConnectInfo is what the stock kopia command needs to read an organization's
// repository.
type ConnectInfo struct {
	Path     string // folder of the Kopia repository
	Password string // secret
	Username string
	Hostname string
	// Commands show the way with KOPIA_PASSWORD set; they hold no secret.
	Commands []string
}

// Show returns what the stock kopia command needs. It is to connect read-only
// and under another name than ours, so that it never starts a maintenance, and
// without a cache, so that it verifies what is in the repository.
func (o *Repository) Show() ConnectInfo {
	c := ConnectInfo{Path: o.dir, Password: o.password, Username: "reader", Hostname: hostname}
	c.Commands = []string{
		"kopia repository connect filesystem --readonly --content-cache-size-mb=0 --override-username=" + c.Username +
			" --override-hostname=" + c.Hostname + " --path=" + quote(c.Path),
		"kopia snapshot list --all --show-identical --tags=point:POINT",
		"kopia snapshot verify --verify-files-percent=100",
		"kopia restore --write-sparse-files SNAPSHOT TARGET",
	}
	return c
}

// quote makes a word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
