package vcenter

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/beevik/etree"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vappvault/vappvault/internal/sim/wellformed"
)

// maxSOAP bounds a request's body, in bytes.
const maxSOAP = 16 << 20

// readSOAP reads the body of a SOAP call and leaves it to be read again, with
// the types named as vcsim knows them. It refuses one that must not be taken
// apart: vcsim would, whatever it needs for that.
func readSOAP(w http.ResponseWriter, r *http.Request) bool {
	path := r.URL.Path
	if r.Method != http.MethodPost || isFolder(r) || strings.HasPrefix(path, nfcPath) || strings.HasPrefix(path, "/rest/") || path == "/api" || strings.HasPrefix(path, "/api/") {
		return true
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSOAP))
	if err != nil {
		http.Error(w, "413 Request Entity Too Large", http.StatusRequestEntityTooLarge)
		return false
	}
	if err := wellformed.Check(body); err != nil {
		writeFault(w, "The request is not well-formed XML: "+err.Error(), &types.InvalidRequest{})
		return false
	}
	body = plainTypes(body)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return true
}

const nsXSI = "http://www.w3.org/2001/XMLSchema-instance"

// typed is an attribute like xsi:type="vim25:TraversalSpec".
var typed = regexp.MustCompile(`([^\s:<>"']+):type\s*=\s*["']\s*(?:([^"':\s]+):)?`)

// plainTypes names the types of a call without the prefixes that its writer
// has chosen for their namespaces: vcsim reads xsi:type, and there xsd: or none.
func plainTypes(body []byte) []byte {
	found := false
	for _, m := range typed.FindAllSubmatch(body, -1) {
		prefix := string(m[2])
		found = found || string(m[1]) != "xsi" || prefix != "" && prefix != "xsd" && prefix != "xs"
	}
	if !found {
		return body
	}
	doc := etree.NewDocument()
	doc.ReadSettings.CharsetReader = wellformed.Charset
	if doc.ReadFromBytes(body) != nil || doc.Root() == nil {
		return body
	}
	for _, k := range doc.ChildElements() {
		plainType(k)
	}
	for _, t := range doc.Child {
		if p, is := t.(*etree.ProcInst); is && p.Target == "xml" {
			p.Inst = `version="1.0" encoding="UTF-8"` // whatever it was
		}
	}
	out, err := doc.WriteToBytes()
	if err != nil {
		return body
	}
	return out
}

func plainType(e *etree.Element) {
	for i, a := range e.Attr {
		if a.Key != "type" || a.NamespaceURI() != nsXSI {
			continue
		}
		if e.Attr[i].Space = "xsi"; namespaceOf(e, "xsi") != nsXSI {
			e.CreateAttr("xmlns:xsi", nsXSI)
		}
		prefix, name, found := strings.Cut(strings.TrimSpace(a.Value), ":")
		if !found {
			continue
		}
		switch ns := namespaceOf(e, prefix); {
		case ns == "http://www.w3.org/2001/XMLSchema":
			e.Attr[i].Value = "xsd:" + name
		case ns != "":
			e.Attr[i].Value = name
		}
	}
	for _, k := range e.ChildElements() {
		plainType(k)
	}
}

// namespaceOf is what a prefix stands for in an element; "" for nothing.
func namespaceOf(e *etree.Element, prefix string) string {
	for ; e != nil; e = e.Parent() {
		if a := e.SelectAttr("xmlns:" + prefix); a != nil {
			return a.Value
		}
	}
	return ""
}
