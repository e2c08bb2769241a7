package vcenter

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	vimxml "github.com/vmware/govmomi/vim25/xml"
)

// vCenter lets extensions disable methods of entities by an internal call of
// its AuthorizationManager. vcsim's decoder does not know the call's types,
// so that it is answered before it gets there.

type toggleEnvelope struct {
	Body struct {
		Disable *toggle `xml:"DisableMethods"`
		Enable  *toggle `xml:"EnableMethods"`
	} `xml:"Body"`
}

type toggle struct {
	This struct {
		Type string `xml:"type,attr"`
	} `xml:"_this"`
	Entity []struct {
		Type  string `xml:"type,attr"`
		Value string `xml:",chardata"`
	} `xml:"entity"`
	Method []struct {
		Name string `xml:",chardata"` // EnableMethods
		ID   string `xml:"method"`    // DisableMethods
	} `xml:"method"`
	Source string `xml:"sourceId"`
}

// methodToggle answers DisableMethods and EnableMethods, and reports whether
// the request was one of them.
func (s *Server) methodToggle(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost || r.URL.Path != s.url.Path {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSOAP))
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil || !bytes.Contains(body, []byte("ableMethods")) {
		return false
	}
	var e toggleEnvelope
	if xml.Unmarshal(body, &e) != nil || e.Body.Disable == nil && e.Body.Enable == nil {
		return false
	}
	name, t := "DisableMethods", e.Body.Disable
	if t == nil {
		name, t = "EnableMethods", e.Body.Enable
	}
	if err := s.toggleMethods(r, name, t); err != nil {
		fault, text := faultOf(err)
		writeFault(w, text, fault)
		return true
	}
	writeEnvelope(w, http.StatusOK, fmt.Sprintf(`<%sResponse xmlns="urn:vim25"></%sResponse>`, name, name))
	return true
}

func writeEnvelope(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>%s</soapenv:Body></soapenv:Envelope>`, body)
}

func writeFault(w http.ResponseWriter, text string, fault types.BaseMethodFault) {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", fault), "*types.")
	var escaped, detail bytes.Buffer
	_ = xml.EscapeText(&escaped, []byte(text))
	e := vimxml.NewEncoder(&detail)
	_ = e.EncodeElement(fault, vimxml.StartElement{Name: vimxml.Name{Local: kind + "Fault"}, Attr: []vimxml.Attr{
		{Name: vimxml.Name{Local: "xmlns"}, Value: "urn:vim25"}, {Name: vimxml.Name{Local: "xsi:type"}, Value: kind},
	}})
	_ = e.Flush() // of the types here, into memory: cannot fail
	writeEnvelope(w, http.StatusInternalServerError, fmt.Sprintf(
		`<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%s</faultstring><detail>%s</detail></soapenv:Fault>`,
		escaped.String(), detail.String()))
}

func (s *Server) toggleMethods(r *http.Request, name string, t *toggle) error {
	if fault := s.faults.call(name); fault != nil {
		return refuse(fault, "%s: told to fail", name)
	}
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return refuse(&types.NotAuthenticated{}, "the session is not authenticated")
	}
	user, ok := s.authenticated(&http.Request{Header: http.Header{"Cookie": {cookie.String()}}})
	if !ok {
		return refuse(&types.NotAuthenticated{}, "the session is not authenticated")
	}
	if t.Source == "" {
		return refuse(&types.InvalidArgument{InvalidProperty: "sourceId"}, "no source")
	}
	ctx := s.newContext()
	for _, e := range t.Entity {
		ref := types.ManagedObjectReference{Type: e.Type, Value: strings.TrimSpace(e.Value)}
		vs, err := s.mustState(ref)
		if err != nil {
			return err
		}
		if err := s.allowed(ctx, user, need{"Global." + name, ref}); err != nil {
			return err
		}
		vs.io.Lock()
		for _, m := range t.Method {
			id := strings.TrimSpace(m.ID)
			if id == "" {
				id = strings.TrimSpace(m.Name)
			}
			if name == "EnableMethods" {
				delete(vs.disabled[id], t.Source)
				if len(vs.disabled[id]) == 0 {
					delete(vs.disabled, id)
				}
				continue
			}
			if vs.disabled[id] == nil {
				vs.disabled[id] = map[string]bool{}
			}
			vs.disabled[id][t.Source] = true
		}
		var list []string
		for id := range vs.disabled {
			list = append(list, id)
		}
		vs.io.Unlock()
		slices.Sort(list)
		vm, err := s.vm(ref)
		if err != nil {
			return err
		}
		ctx.WithLock(vm, func() {
			ctx.Update(vm, []types.PropertyChange{{Name: "disabledMethod", Val: list}})
		})
	}
	return nil
}

// disabledMethod refuses the call of a method that somebody disabled.
func (s *Server) disabledMethod(m *simulator.Method) types.BaseMethodFault {
	vs := s.state(m.This)
	if vs == nil {
		return nil
	}
	vs.io.RLock()
	defer vs.io.RUnlock()
	for source := range vs.disabled[m.Name] {
		return &types.MethodDisabled{Source: source}
	}
	return nil
}
