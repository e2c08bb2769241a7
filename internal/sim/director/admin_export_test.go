package director

import (
	"net/http"
	"net/url"
)

// RequiredRights are the names in the table of what calls need.
func RequiredRights() []string {
	var out []string
	for _, q := range requirements() {
		out = append(out, q.rights...)
	}
	return out
}

// Negotiate tells which version a request with that Accept header speaks, for
// fuzzing.
func Negotiate(path, accept string) (version string, err error) {
	s := &Server{cfg: Config{APIVersions: versions}}
	c := &call{s: s, r: &http.Request{URL: &url.URL{Path: path}, Header: http.Header{"Accept": {accept}}}}
	err = c.negotiate()
	return c.version, err
}
