FILL={}
FILL["F_CLAIMS"]='''
arms = {"few": "few-shot", "constrained": "few-shot, constrained", "LoRA": "LoRA, 400"}
valid = {key: estimate(of("format", arm, "valid")) for key, arm in arms.items()}
claim("S12.prompt", "Tickets that fit the schema with eight examples in the prompt", valid["few"],
      holds=valid["few"].high < 0.9)
claim("S12.lora", "Tickets that fit the schema after LoRA on 400", valid["LoRA"],
      holds=valid["LoRA"].low > 0.9)
claim("S12.constrained", "Tickets that fit the schema under constrained decoding",
      valid["constrained"], holds=valid["constrained"].low > 0.9,
      contradicted="A grammar enforces a schema without any training.")
exact = {key: estimate(of("format", arm, "exact")) for key, arm in arms.items()}
claim("S26.ladder", "Exactly right tickets on the best rung of prompting, constrained or not",
      exact["constrained"], holds=exact["constrained"].high < 0.3);
'''
FILL["J_CLAIMS"]='''
loss = {name: estimate(before[which]) for name, which in (("jargon", jargon), ("plain", ~jargon))}
claim("S13.before", "Loss on right tickets before training, jargon less plain, in nats a token",
      loss["jargon"].value - loss["plain"].value, holds=True, n=len(test));
'''
for k in ("C_CLAIMS","V_CLAIMS","G_CLAIMS","K_CLAIMS","W_CLAIMS"): FILL[k]="pass"
for k in ("F_TEXT","J_TEXT","C_TEXT","V_TEXT","G_TEXT","K_TEXT","W_TEXT","A_TEXT","T_TEXT"): FILL[k]="(text)"
