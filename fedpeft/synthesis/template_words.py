# SPDX-License-Identifier: Apache-2.0
"""The words of the bundled pool's grammar: common knowledge, in our own sentences."""

from __future__ import annotations

from typing import Final

OPENINGS: Final = ("", "in the end, ", "all in all, ", "to be honest, ", "despite its length, ")

THINGS: Final = (
    "film", "plot", "acting", "script", "ending", "soundtrack", "dialogue", "cast", "direction", "story",
    "hotel", "meal", "service", "phone", "book", "game", "concert", "lesson",
)  # fmt: skip

MOODS: Final = {
    "positive": (
        "is a delight from start to finish", "moved me more than I expected", "works beautifully",
        "is funny, warm and clever", "deserves every bit of praise", "never wastes a moment",
    ),
    "negative": (
        "is dull and far too long", "left me cold", "falls apart half way", "is clumsy and without charm",
        "was a waste of an evening", "never finds its feet",
    ),
}  # fmt: skip

HEALTH: Final = {
    "asthma": (
        "Asthma is a lasting disease in which the airways of the lungs are inflamed and narrow at times.",
        "Wheezing, coughing, a tight chest and shortness of breath, often at night.",
        "Inhaled medicines that relax or calm the airways, and avoiding what triggers attacks.",
        "Genes and surroundings together; pollen, smoke, cold air or exercise may trigger attacks.",
    ),
    "a common cold": (
        "A common cold is a mild viral infection of the nose and throat.",
        "A runny nose, sneezing, a sore throat and a cough for about a week.",
        "Rest, drinking enough, and medicines against single symptoms; antibiotics do not help.",
        "Viruses that pass through droplets in the air and from hand to face.",
    ),
    "type 2 diabetes": (
        "Type 2 diabetes is a disease in which the body uses insulin badly and blood sugar is too high.",
        "Thirst, frequent urination, tiredness and blurred vision; often none for years.",
        "A healthy diet, exercise, tablets and in some cases insulin.",
        "Genes, excess weight and little exercise raise the risk.",
    ),
    "high blood pressure": (
        "High blood pressure means that blood presses too hard against the walls of the arteries.",
        "Usually none, so it is found by measuring.",
        "Less salt, more exercise, a healthy weight, and tablets that lower it.",
        "Age, genes, much salt, excess weight, stress and some kidney diseases.",
    ),
    "migraine": (
        "Migraine is a disorder with repeated attacks of strong, mostly one-sided headache.",
        "Throbbing pain, nausea, and sensitivity to light and sound; some people see flickering before.",
        "Rest in a dark room, pain relievers, triptans, and medicines that prevent attacks.",
        "The exact cause is unknown; genes, stress, hormones and lack of sleep play a part.",
    ),
    "anemia": (
        "Anemia means that the blood has too few red cells or too little hemoglobin.",
        "Tiredness, pale skin, shortness of breath and dizziness.",
        "It depends on the cause: iron or vitamins, treating a bleeding, or transfusions.",
        "Lack of iron or vitamin B12, loss of blood, or diseases of the bone marrow.",
    ),
    "influenza": (
        "Influenza is a contagious viral infection of the airways that comes in winter.",
        "Sudden fever, aching muscles, headache, a dry cough and exhaustion.",
        "Rest and fluids; antiviral medicines for people at risk; a yearly vaccine prevents it.",
        "Influenza viruses, spread by droplets when people cough, sneeze or talk.",
    ),
    "osteoporosis": (
        "Osteoporosis is a disease in which bones lose density and break easily.",
        "None at first; later back pain, loss of height and fractures after small falls.",
        "Calcium, vitamin D, exercise, and medicines that slow the loss of bone.",
        "Ageing, falling hormone levels, little movement, smoking and some medicines.",
    ),
    "pneumonia": (
        "Pneumonia is an infection that inflames the air sacs of the lungs.",
        "Cough, fever, chills, chest pain and trouble breathing.",
        "Antibiotics if bacteria are the cause, rest, fluids, and oxygen in severe cases.",
        "Bacteria, viruses or, more rarely, fungi.",
    ),
    "eczema": (
        "Eczema is a condition that makes the skin dry, itchy and inflamed.",
        "Itching, red or dark patches, and rough or cracked skin.",
        "Moisturizers, avoiding triggers, and creams that calm the inflammation.",
        "A weak skin barrier and an overactive immune response, often in families with allergies.",
    ),
    "kidney stones": (
        "Kidney stones are hard deposits of minerals that form in the kidneys.",
        "Sharp pain in the side or back, blood in the urine and nausea.",
        "Drinking much water, pain relief, shock waves or a small operation.",
        "Too little fluid, a diet with much salt or protein, and some metabolic disorders.",
    ),
    "glaucoma": (
        "Glaucoma is a group of eye diseases that damage the optic nerve.",
        "Slow loss of side vision; in the acute form, pain and a red eye.",
        "Eye drops, laser treatment or surgery that lower the pressure in the eye.",
        "Mostly a pressure inside the eye that is too high for the nerve.",
    ),
    "hay fever": (
        "Hay fever is an allergy to pollen that affects the nose and eyes.",
        "Sneezing, a runny or blocked nose and itchy, watery eyes.",
        "Antihistamines, nasal sprays, avoiding pollen, and desensitization.",
        "The immune system reacts to harmless pollen of grasses, trees or weeds.",
    ),
    "insomnia": (
        "Insomnia is trouble falling or staying asleep over weeks.",
        "Lying awake, waking too early, and being tired and irritable by day.",
        "Regular hours, a quiet dark room, behavioural therapy, and medicines for a short time.",
        "Stress, pain, noise, caffeine, shift work or other illnesses.",
    ),
    "gout": (
        "Gout is a form of arthritis caused by crystals of uric acid in a joint.",
        "Sudden strong pain, swelling and redness, often in the big toe.",
        "Anti-inflammatory medicines in an attack, and medicines and diet that lower uric acid.",
        "Too much uric acid in the blood, from genes, diet, alcohol or weak kidneys.",
    ),
    "appendicitis": (
        "Appendicitis is an inflammation of the appendix, a small pouch of the large bowel.",
        "Pain that moves to the lower right of the belly, loss of appetite, nausea and fever.",
        "Surgery that removes the appendix, and antibiotics.",
        "Mostly a blockage of the appendix, by stool or swollen tissue.",
    ),
}

CODE: Final = {
    "read_lines": ("path, encoding='utf-8'", "Read a text file and return its lines as a list."),
    "write_json": ("data, path, indent=2", "Write an object to a file as JSON."),
    "mean": ("values, axis=None", "Compute the arithmetic mean along an axis."),
    "median": ("values", "Return the middle value of the sorted data."),
    "sort_by_key": ("items, key, reverse=False", "Return a new list of the items sorted by a key."),
    "merge_tables": ("left, right, on", "Join two tables on a common column."),
    "group_by": ("rows, column", "Group rows by the value of a column."),
    "fill_missing": ("column, value=0", "Replace missing entries of a column by a value."),
    "drop_duplicates": ("rows, subset=None", "Remove rows that occur more than once."),
    "parse_date": ("text, form='%Y-%m-%d'", "Convert a text to a date."),
    "format_number": ("number, digits=2", "Format a number with a fixed count of decimals."),
    "solve_linear": ("matrix, vector", "Solve a system of linear equations."),
    "invert": ("matrix", "Compute the inverse of a square matrix."),
    "determinant": ("matrix", "Return the determinant of a square matrix."),
    "differentiate": (
        "expression, symbol",
        "Compute the derivative of an expression with respect to a symbol.",
    ),
    "integrate": ("expression, symbol, limits=None", "Compute the integral of an expression."),
    "factor": ("expression", "Factor a polynomial into irreducible polynomials."),
    "is_prime": ("number", "Test whether a number is prime."),
    "shortest_path": ("graph, source, target", "Return a shortest path between two nodes of a graph."),
    "connected_components": ("graph", "Yield the sets of nodes of each connected component."),
    "add_edge": ("graph, first, second, weight=1", "Add an edge between two nodes of a graph."),
    "plot_line": ("x, y, color=None, label=None", "Draw a line through points."),
    "set_title": ("axes, text, size=12", "Set the title of the axes."),
    "save_figure": ("figure, path, dpi=100", "Save a figure as an image file."),
    "train_test_split": ("data, share=0.2, seed=None", "Split data into a training and a test part."),
    "fit": ("model, features, labels", "Fit a model to training data."),
    "predict": ("model, features", "Predict labels for new data."),
    "accuracy": ("truth, predicted", "Return the share of right predictions."),
    "open_connection": ("host, port, timeout=10", "Open a network connection to a host."),
    "send_request": ("url, method='GET', headers=None", "Send a request and return the response."),
    "retry": (
        "function, attempts=3, wait=1.0",
        "Call a function again until it succeeds or attempts run out.",
    ),
    "cache_result": ("function, size=128", "Keep the results of a function's latest calls."),
    "flatten": ("nested", "Turn nested lists into one flat list."),
    "chunks": ("items, size", "Yield parts of a sequence of a given length."),
    "random_sample": ("items, count, seed=None", "Draw items at random without replacement."),
    "resize_image": ("image, width, height", "Return a copy of an image with another size."),
}

DEFINITIONS: Final = {
    "photosynthesis": (
        "The process by which plants turn light, water and carbon dioxide into sugar and oxygen."
    ),
    "gravity": "The force by which masses attract one another.",
    "inflation": "A lasting rise of the general level of prices.",
    "democracy": "A form of government in which the people decide, mostly by elections.",
    "evaporation": "The change of a liquid into a gas at its surface.",
    "an algorithm": "A finite list of clear steps that solves a problem.",
    "a mortgage": "A loan secured by a house or land.",
    "interest": "The price that is paid for borrowed money.",
    "a budget": "A plan of income and spending for a period.",
    "an ecosystem": "All living things of a place together with their surroundings.",
    "a molecule": "The smallest unit of a substance, made of bonded atoms.",
    "erosion": "The wearing away of soil and rock by water, wind or ice.",
    "a metaphor": "A figure of speech that calls one thing by the name of another.",
    "a hypothesis": "A testable guess that explains an observation.",
    "a vaccine": "A preparation that trains the immune system against a disease.",
    "a satellite": "A body that orbits a planet.",
    "a contract": "An agreement that binds those who make it by law.",
    "insurance": "A promise to pay for a loss in return for regular payments.",
    "a database": "An organized collection of data that can be searched and changed.",
    "encryption": "Turning data into a form that only a key makes readable.",
    "friction": "The resistance when two surfaces move against each other.",
    "a peninsula": "Land that is almost surrounded by water.",
    "migration": "Movement from one region to another.",
    "a synonym": "A word that means nearly the same as another.",
}

ADVICE: Final = {
    "boil an egg": ("Bring water to a boil.", "Put the egg in for eight minutes.", "Cool it in cold water."),
    "write a cover letter": (
        "Name the position.",
        "Say why you fit.",
        "Close politely and keep it to a page.",
    ),
    "sleep better": ("Keep regular hours.", "Avoid screens before bed.", "Keep the room dark and cool."),
    "save money": ("List what you spend.", "Set a limit for each kind.", "Put a fixed sum aside each month."),
    "learn a language": (
        "Practise a little every day.",
        "Listen and speak early.",
        "Repeat words in context.",
    ),
    "clean a window": (
        "Wash it with soapy water.",
        "Wipe from top to bottom.",
        "Dry it with a lint-free cloth.",
    ),
    "plant tomatoes": (
        "Sow indoors in spring.",
        "Move them out after the frost.",
        "Water the soil regularly.",
    ),
    "prepare a meeting": ("Set a goal.", "Send an agenda.", "End with who does what until when."),
    "back up a computer": ("Choose an external disk.", "Copy the files on a schedule.", "Test a restore."),
    "return a purchase": ("Find the receipt.", "Check the return period.", "Bring or send the item back."),
    "open a bank account": ("Compare the fees.", "Bring an identity document.", "Sign the contract."),
    "calm a crying baby": ("Check hunger and nappy.", "Rock it gently.", "Keep light and noise low."),
    "reset a password": ("Choose the reset link.", "Open the message you get.", "Set a long new password."),
    "start running": ("Begin with short distances.", "Alternate running and walking.", "Rest between days."),
    "treat a small burn": (
        "Cool it under running water.",
        "Cover it loosely.",
        "See a doctor if it is large.",
    ),
    "report a lost card": ("Call the bank at once.", "Have the card blocked.", "Check recent payments."),
}

UNITS: Final = {
    ("kilometres", "metres"): 1000, ("hours", "minutes"): 60, ("minutes", "seconds"): 60,
    ("days", "hours"): 24, ("weeks", "days"): 7, ("kilograms", "grams"): 1000,
    ("litres", "millilitres"): 1000,
    ("metres", "centimetres"): 100, ("years", "months"): 12, ("dozens", "pieces"): 12,
}  # fmt: skip

SUMMARIES: Final = {
    "The meeting moves to Thursday.": (
        "As the room is taken on Wednesday, everybody agreed to meet a day later, on Thursday."
    ),
    "The bridge is closed for repairs.": (
        "Until the end of the month nobody can cross the bridge, since its deck is being repaired."
    ),
    "Sales rose in spring.": (
        "After a weak winter the shop sold more in March, April and May than in any quarter before."
    ),
    "The update fixes a crash.": (
        "Users saw the program end when they opened large files; the new version handles them."
    ),
    "The library opens longer.": (
        "From next week on, readers may stay in the library until ten in the evening on weekdays."
    ),
    "The train will be late.": (
        "Because of a signal fault the evening train leaves about forty minutes after its time."
    ),
    "The invoice is overdue.": (
        "Payment was expected at the beginning of the month and has not arrived, so please pay now."
    ),
    "Rain is expected tomorrow.": (
        "Clouds move in from the west overnight, and showers will follow from the morning on."
    ),
    "The course is fully booked.": (
        "All places were taken within a day, so new applicants are put on a waiting list."
    ),
    "The patient may go home.": (
        "Tests showed no further problem, and the ward plans the discharge for this afternoon."
    ),
    "The claim was approved.": "The insurer checked the damage and will pay for the repair in full.",
    "The order was split.": (
        "Two of the items are in stock and leave today, the third follows when it arrives."
    ),
}
