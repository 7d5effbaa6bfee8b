import json, pathlib, numpy as np
from course_utils.formats import emails
out=pathlib.Path('/tmp/w7/fake_sweeps'); out.mkdir(exist_ok=True)
r=np.random.default_rng(0)
def s(p,n): return (r.random(n)<p).astype(float).tolist()
def put(name,arms): (out/f'{name}.json').write_text(json.dumps({'sweep':name,'small':False,'date':'2026-11-23','machine':'fake','versions':{},'arms':arms}))
law={}
P={"LoRA, RAG":(.95,.4,.4,.4,.6,.65),"LoRA, RAG, gold shown":(.95,.6,.6,.6,.6,1),"base, RAG":(.02,.2,.1,.05,.02,.65),"base, closed book":(0,0,0,0,0,.14),"few-shot, RAG":(.5,.2,.2,.2,.4,.65),"LoRA, closed book":(.95,.1,.1,.1,.5,.14),"LoRA, closed book, then RAG":(.9,.2,.2,.2,.5,.65)}
for k,(st,c,nm,ru,co,f) in P.items():
    d={'structure':s(st,50),'case':s(c,50),'name':s(nm,50),'rule':s(ru,50),'conclusion':s(co,50),'found':s(f,50),'old':s(.05,50)}
    d['right']=[a*b for a,b in zip(d['case'],d['conclusion'])]; d['all']=[a*b*c_ for a,b,c_ in zip(d['right'],d['structure'],d['rule'])]
    law[k]={'scores':d,'prompt_tokens':400.,'seconds':2.,'seconds_alone':9.}
for k,(o,n,l) in {"LoRA before, closed book":(.2,0,.1),"LoRA before, RAG, old index":(.5,0,.2),"LoRA before, RAG, new index":(0,.5,.9)}.items():
    law[k]={'scores':{'cites old':s(o,26),'cites new':s(n,26),'likelier new':s(l,26),'found old':s(.5,26),'found new':s(.5,26)},'train_seconds':800.}
put('law',law)
rd={}
for k,(ri,rf,g) in {'LoRA':(.3,.5,.6),'copy':(.07,0,.4),'base':(.02,0,.4),'LoRA, no rows':(.2,.4,.5)}.items():
    for src,n in (('retrieved',160),('gold',136)):
        ref=s(rf if src=='retrieved' else .1,n); c=[1-x for x in ref]
        rd[f'{k}, {src}']={'scores':{'right':s(ri,n),'refused':ref,'cites':c,'cites gold':[x*y for x,y in zip(c,s(g,n))],'found':s(.42,n)},'seconds':.5,'train_seconds':900.}
put('reader',rd)
mi={}
for k,(a,b) in {'sure, base':(.3,.25),'sure, LoRA of week 1':(.8,.1),'sure, LoRA of week 2':(.1,.8)}.items():
    mi[k]={'scores':{'sure of week 1':np.clip(r.normal(a,.1,32),0,1).tolist(),'sure of week 2':np.clip(r.normal(b,.1,32),0,1).tolist()},'train_seconds':150.}
for k,(ri,rf,f) in {'healthy':(.25,.5,.3),'large chunks':(.15,.5,.2),'other embedder':(.1,.8,.0),'high threshold':(.15,.7,.15),'reversed scores':(.1,.7,.02)}.items():
    ref=s(rf,160); mi[f'reader, {k}']={'scores':{'right':s(ri,160),'refused':ref,'cites':[1-x for x in ref],'cites gold':s(f,160),'found':s(f,160)},'train_seconds':900.,'prompt_tokens':340.,'seconds':.6}
for k in ('1 rule','2 rules','10 rules'): mi[f'guide, {k}']={'scores':{'rules':np.clip(r.normal(.45,.05,100),0,1).tolist(),'all rules':s(0,100)},'seconds':2.}
put('mistakes',mi)
vo={}
for k,(a,b) in {'bare':(.39,0),'guide, 5 rules':(.48,0),'guide, all rules':(.5,0),'few-shot':(.84,.08),'LoRA, 50':(.91,.25),'LoRA, 500':(.99,.84)}.items():
    vo[k]={'scores':{'rules':np.clip(r.normal(a,.05,100),0,1).tolist(),'all rules':s(b,100),**{x:s(a,100) for x in emails.RULES}},'prompt_tokens':90.,'seconds':1.,'seconds_alone':9.,'train_seconds':2000.}
put('voice',vo)
fo={}
for k,(v,e,f) in {'zero-shot':(0,0,0),'instructions':(.05,0,.1),'few-shot':(.4,.02,.4),'instructions, constrained':(1,0,.2),'few-shot, constrained':(1,.03,.4),'LoRA, 50':(.3,0,.45),'LoRA, 400':(.95,.5,.85),'LoRA, 25':(.1,0,.2),'LoRA, 100':(.5,.1,.5),'LoRA, 200':(.7,.3,.7),'LoRA, 400, constrained':(1,.5,.85)}.items():
    fo[k]={'scores':{'valid':s(v,120),'exact':s(e,120),'f1':np.clip(r.normal(f,.05,120),0,1).tolist()},'prompt_tokens':100.,'seconds':1.,'seconds_alone':5.,**({'train_seconds':500.} if 'LoRA' in k else {})}
put('format',fo)
kn={}
for k,(a,b) in {'base':(.3,.25),'RAG, index of week 1':(.6,.1),'RAG, index of week 2':(.1,.6)}.items(): kn[k]={'scores':{'week 1':s(a,32),'week 2':s(b,32)},'update_seconds':9.}
for w,ph in ((1,'phrasing'),(4,'phrasings')):
    for seed in range(3): kn[f'LoRA, {w} {ph}, seed {seed}']={'scores':{'week 1':s(.7,32),'week 2':s(.1,32)},'train_seconds':150.,'with RAG, week 1':{'week 1':s(.8,32),'week 2':s(.1,32)},'with RAG, week 2':{'week 1':s(.3,32),'week 2':s(.6,32)}}
put('knowledge',kn)
