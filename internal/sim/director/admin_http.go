package director

import (
	"bytes"
	"compress/gzip"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// methods are those that a path may know.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// allowed are the methods that a path knows.
func allowed(mux *http.ServeMux, r *http.Request) []string {
	var out []string
	for _, m := range methods {
		probe := *r
		probe.Method = m
		if _, pattern := mux.Handler(&probe); pattern != "/" && pattern != "" {
			out = append(out, m)
		}
	}
	return out
}

// otherMethod answers a call that no route takes: a path that knows other
// methods says which, OPTIONS asks for just that, and nothing is found
// elsewhere.
func otherMethod(mux *http.ServeMux) handler {
	return func(c *call) (*answer, error) {
		known := allowed(mux, c.r)
		if len(known) == 0 {
			return nil, notFound("The requested resource %s was not found.", c.r.URL.Path)
		}
		header := map[string]string{"Allow": strings.Join(append(known, http.MethodOptions), ", ")}
		if c.r.Method == http.MethodOptions {
			return &answer{status: http.StatusOK, header: header}, nil
		}
		a := c.failed(refuse(http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "The method %s is not allowed for %s.", c.r.Method, c.r.URL.Path))
		a.header = header
		return a, nil
	}
}

// Media types that clients ask for. Those with a * stand for what the server
// has.
var (
	anything  = []string{"*/*", "application/*"}
	takesXML  = append([]string{"application/*+xml", "application/xml", "text/xml", "text/*"}, anything...)
	takesJSON = append([]string{"application/json", "application/*+json"}, anything...)
)

// negotiate finds the API version in the Accept header: of the first of its
// media types that can be answered. JSON is not served below /api, where a real
// installation has it since 29.0: a client that asks for nothing else is told
// so, which is the stricter reading.
func (c *call) negotiate() error {
	bad := refuse(http.StatusNotAcceptable, "NOT_ACCEPTABLE", "The request has invalid accept header: %s", c.r.Header.Get("Accept"))
	takes := takesXML
	if c.asksJSON() {
		takes = takesJSON
	} else if c.json {
		takes = append(slices.Clone(takesXML), "application/*+json", "application/json")
	}
	for _, accept := range c.r.Header.Values("Accept") {
		for one := range strings.SplitSeq(accept, ",") {
			typ, params, err := mime.ParseMediaType(strings.TrimSpace(one))
			v := params["version"]
			if err != nil || v == "" || params["q"] == "0" {
				continue
			}
			if !slices.Contains(takes, typ) && !(strings.HasPrefix(typ, "application/vnd.vmware.") && strings.HasSuffix(typ, "+xml") && !c.asksJSON()) {
				continue
			}
			if !c.s.knownVersion(v) {
				bad = refuse(http.StatusNotAcceptable, "NOT_ACCEPTABLE", "The request has invalid accept header: Invalid API version requested: %s", v)
				continue
			}
			c.version = v
			return nil
		}
	}
	return bad
}

// asksJSON tells the paths whose documents are JSON.
func (c *call) asksJSON() bool {
	return strings.HasPrefix(c.r.URL.Path, "/cloudapi/") || strings.HasPrefix(c.r.URL.Path, "/oauth/")
}

// gzipFrom is how long a body must be, in bytes, to be worth compressing.
const gzipFrom = 1024

// compressed is a body as the client takes it, and its Content-Encoding. The line
// is short, and a compressor large: speed counts, and they are used again.
func (s *Server) compressed(r *http.Request, body []byte) ([]byte, string) {
	if len(body) < gzipFrom || !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		return body, ""
	}
	var b bytes.Buffer
	z, ok := s.compressors.Get().(*gzip.Writer)
	if !ok {
		z, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that there is
	}
	defer s.compressors.Put(z)
	z.Reset(&b)
	if _, err := z.Write(body); err != nil {
		return body, ""
	}
	if err := z.Close(); err != nil {
		return body, ""
	}
	return b.Bytes(), "gzip"
}
